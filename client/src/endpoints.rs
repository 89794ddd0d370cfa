//! What a client may be told of where the nodes are.

/// Endpoints of nodes: one text, or several. An endpoint is `http://HOST:PORT`, or `HOST:PORT` for short.
///
/// ```
/// use stator_client::Client;
///
/// let one = Client::connect("127.0.0.1:7400")?;
/// let several = Client::connect(["http://10.0.0.1:7400", "http://10.0.0.2:7400"])?;
/// let read: Vec<String> = "10.0.0.1:7400,10.0.0.2:7400".split(',').map(str::to_owned).collect();
/// let from_settings = Client::connect(read)?;
/// # Ok::<(), stator_client::Error>(())
/// ```
pub trait IntoEndpoints {
    /// Each endpoint as a text.
    fn into_endpoints(self) -> Vec<String>;
}

impl IntoEndpoints for &str {
    fn into_endpoints(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl IntoEndpoints for String {
    fn into_endpoints(self) -> Vec<String> {
        vec![self]
    }
}

impl IntoEndpoints for &String {
    fn into_endpoints(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<T: Into<String>> IntoEndpoints for Vec<T> {
    fn into_endpoints(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<String>, const N: usize> IntoEndpoints for [T; N] {
    fn into_endpoints(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: AsRef<str>> IntoEndpoints for &[T] {
    fn into_endpoints(self) -> Vec<String> {
        self.iter().map(|endpoint| endpoint.as_ref().to_owned()).collect()
    }
}

impl<T: AsRef<str>, const N: usize> IntoEndpoints for &[T; N] {
    fn into_endpoints(self) -> Vec<String> {
        self.as_slice().into_endpoints()
    }
}

impl<T: AsRef<str>> IntoEndpoints for &Vec<T> {
    fn into_endpoints(self) -> Vec<String> {
        self.as_slice().into_endpoints()
    }
}

/// The whole form of an endpoint: nodes go by it in routes as well, so one node must not have two names.
pub(crate) fn whole(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    // A host alone is left as it is, and is refused: it would mean port 80, where no node listens.
    let scheme = if endpoint.contains("://") || !endpoint.contains(':') { "" } else { "http://" };
    let rest = endpoint.strip_suffix('/').filter(|rest| !rest.ends_with('/'));
    format!("{scheme}{}", rest.unwrap_or(endpoint))
}

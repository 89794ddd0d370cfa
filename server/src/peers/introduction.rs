//! Who speaks, and to whom: what every call between nodes says of its sender and of the node that it is for, and whether that is
//! believed.
//!
//! A node is known by its number, by the incarnation of its data directory, and by the cluster that both are of. Until the founders
//! have made the cluster's id there is only the list that each was started with: two of them take each other for what they say only if
//! their lists are the same, for a number means a place in the list. An address may have come to lead to another node of the cluster:
//! that one serves nothing that is not for it, since its answer would be taken for the other's. This tells mistakes apart, not friends
//! from enemies: nothing here is secret.

use std::fmt;

use stator_consensus::NodeId;
use stator_proto::peer::v1 as wire;

/// The founders that hold the catalog: all that a node remembers of the list once it has a data directory.
const REMEMBERED: usize = 3;

/// What a node is called that has lost its data, or was given another's number.
pub(super) const OTHER_DIRECTORY: &str = "other-directory";

/// What it is called when a call has come to another node than it is for.
pub(super) const OTHER_NODE: &str = "other-node";

/// What this node tells others of itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// The addresses of the founders, in order, with commas between them.
    founders: String,
}

impl Introduction {
    pub(crate) fn new(node: NodeId, incarnation: u64, founders: &[String]) -> Self {
        Self { node, incarnation, founders: founders.join(",") }
    }

    /// The founders, in order.
    pub(crate) fn founders(&self) -> impl Iterator<Item = &str> {
        self.founders.split(',').filter(|founder| !founder.is_empty())
    }

    /// The list as others see it.
    pub(crate) fn founders_text(&self) -> &str {
        &self.founders
    }
}

/// Who a call, or a stream, says that it is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Introduced<'a> {
    /// Empty, if the sender has not heard of one yet.
    pub(crate) cluster_id: &'a str,
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// The addresses of the founders, as the sender knows them.
    pub(crate) founders: &'a str,
    /// Whom it is for, and which data directory of its, as far as the sender knows.
    pub(crate) to: Option<(NodeId, Option<u64>)>,
}

impl<'a> Introduced<'a> {
    /// What the first frame of a stream says. Whom the stream is for has been seen to by then.
    pub(crate) fn of_hello(hello: &'a wire::Hello) -> Self {
        Self {
            cluster_id: &hello.cluster_id,
            node: NodeId(hello.node_id),
            incarnation: hello.incarnation,
            founders: &hello.founders,
            to: None,
        }
    }
}

/// Why a node is not believed to be one of the others, or not served as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// It does not say who it is.
    Nameless,
    /// It is of another cluster.
    OtherCluster { theirs: String, ours: String },
    /// It was started with another list of founders.
    OtherFounders { theirs: String, ours: String },
    /// Its number is known by another data directory: to the catalog, or to this node's own file.
    OtherDirectory(NodeId),
    /// Another node has come under its number before it, and the catalog does not say yet which one is meant.
    Twin(NodeId),
    /// Nobody has told of it, yet at least.
    NotAMember(NodeId),
    /// It means another node, or another data directory of this one's number.
    OtherNode { meant: NodeId, own: NodeId },
    /// It speaks as nobody does any more.
    OldFormat(u32),
}

impl Stranger {
    /// What it is called in the metadata of a refusal.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Nameless => "nameless",
            Self::OtherCluster { .. } => "other-cluster",
            Self::OtherFounders { .. } => "other-founders",
            Self::OtherDirectory(_) => OTHER_DIRECTORY,
            Self::Twin(_) => "twin",
            Self::NotAMember(_) => "not-a-member",
            Self::OtherNode { .. } => OTHER_NODE,
            Self::OldFormat(_) => "old-format",
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nameless => f.write_str("the call does not say which node it is from"),
            Self::OtherCluster { theirs, ours } => {
                write!(f, "the sender is of cluster {theirs}, and this node is of {ours}")
            }
            Self::OtherFounders { theirs, ours } => write!(
                f,
                "the sender was started with initial_nodes = [{theirs}], and this node with [{ours}]: \
                 all founders need the same list, in the same order"
            ),
            Self::OtherDirectory(node) => {
                write!(f, "node {node} has another data directory than it is known by here")
            }
            Self::Twin(node) => write!(f, "another node has come as node {node} before this one"),
            Self::NotAMember(node) => write!(f, "node {node} is not known as a member here"),
            Self::OtherNode { meant, own } if meant == own => {
                write!(f, "the call is for another data directory of node {meant} than this one")
            }
            Self::OtherNode { meant, own } => {
                write!(f, "the call is for node {meant}, and this is node {own}")
            }
            Self::OldFormat(version) => {
                write!(f, "format version {version} is not spoken any more")
            }
        }
    }
}

/// Whether two lists are the same, or one of them is all that is remembered of the other.
pub(crate) fn same_founders(one: &str, other: &str) -> bool {
    let count = |list: &str| list.split(',').count();
    let first =
        |list: &str| list.split(',').take(REMEMBERED).map(str::to_owned).collect::<Vec<_>>();
    let is_part = count(one) == REMEMBERED || count(other) == REMEMBERED;
    one == other || (is_part && first(one) == first(other))
}

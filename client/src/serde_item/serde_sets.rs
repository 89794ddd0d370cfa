//! Fields that are DynamoDB sets: `#[serde(with = "stator_client::serde_sets::string_set")]` on any field that is a
//! sequence to serde, such as a `Vec`, a `BTreeSet` or a `HashSet`.
//!
//! DynamoDB has no empty sets. Mark a field that may be empty
//! `#[serde(default, skip_serializing_if = "Vec::is_empty")]` as well.
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Song {
//!     #[serde(with = "stator_client::serde_sets::number_set")]
//!     years: BTreeSet<u16>,
//! }
//!
//! let item = stator_client::to_item(&Song { years: [1974, 2015].into() })?;
//! assert_eq!(item["years"].type_name(), "NS");
//! # Ok::<(), stator_client::Error>(())
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The three modules differ in names only.
macro_rules! sets {
    ($($(#[$doc:meta])* $module:ident is $name:ident;)*) => { $(
        $(#[$doc])*
        pub mod $module {
            use super::{Deserialize, Deserializer, Serialize, Serializer};

            /// Serializes a sequence as a set; with serializers other than this crate's, as the sequence that it is.
            ///
            /// # Errors
            /// `ValidationException` if a member is of another type, or if there is none.
            pub fn serialize<T, S>(members: &T, serializer: S) -> Result<S::Ok, S::Error>
            where
                T: Serialize + ?Sized,
                S: Serializer,
            {
                serializer.serialize_newtype_struct(crate::serde_item::$name, members)
            }

            /// Deserializes a set, or a list, as a sequence.
            ///
            /// # Errors
            /// What the sequence's own type refuses.
            pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
            where
                T: Deserialize<'de>,
                D: Deserializer<'de>,
            {
                T::deserialize(deserializer)
            }
        }
    )* };
}

sets! {
    /// A field that is an `SS`.
    string_set is STRING_SET;
    /// A field that is an `NS`.
    number_set is NUMBER_SET;
    /// A field that is a `BS`: its members serialize as bytes.
    binary_set is BINARY_SET;
}

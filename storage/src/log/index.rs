//! Where each group's records are.

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's incarnation.
    pub segment: u64,
    /// The record's offset in bytes.
    pub offset: u32,
    /// The record's length in bytes.
    pub len: u32,
}

/// An entry's term and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The entry's index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Where it is.
    pub place: Place,
}

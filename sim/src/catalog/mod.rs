//! The catalog of a run: the real records, requests, placement and steps of the controller, in virtual time.
//!
//! Those four files of the server know nothing of the rest of it, and are compiled here a second time: to depend on the server would
//! bring its doors and their HTTP stack into every build of the simulator. What a node does with its replicas is played by `replicas`,
//! as the rest of the shell is played elsewhere in this crate.
//!
//! ```text
//!  controller's look, a caller's story, a node's search for what it missed: futures
//!        │ orders ▼                                        ▲ what came of each
//!  `carry`: requests to the catalog's group or to a new table's · replicas made and removed on nodes
//! ```
//!
//! Callers make tables, wait until they are ready, write to each partition, delete them, and make others of the same name, while
//! nodes crash; two callers fight for each name.

#[allow(dead_code, reason = "the simulator does not run all that the server does")]
#[path = "../../../server/src/catalog/look.rs"]
mod look;
#[allow(dead_code, reason = "the simulator does not run all that the server does")]
#[path = "../../../server/src/catalog/placement.rs"]
mod placement;
#[allow(dead_code, reason = "the simulator does not run all that the server does")]
#[path = "../../../server/src/catalog/records.rs"]
pub(crate) mod records;
#[allow(dead_code, reason = "the simulator does not run all that the server does")]
#[path = "../../../server/src/catalog/requests.rs"]
mod requests;

pub(crate) mod carry;
mod hands;
pub(crate) mod orders;
pub(crate) mod replicas;
mod stories;

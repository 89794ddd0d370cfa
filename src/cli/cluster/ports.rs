//! The ports of a cluster's nodes.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// From one node's port to the next one's.
const STEP: u16 = 10;
/// A node's own ports: for clients and peers, for its admin port, and one that is kept for an HTTP door.
const PORTS_OF_A_NODE: u16 = 3;
/// Where free ports are looked for: below those that operating systems give to outgoing connections, for such a one could
/// sit on the port of a node that is being started again.
const FREE: std::ops::Range<u16> = 10_000..30_000;
const ATTEMPTS: usize = 200;

/// The first ports of nodes whose first node has this one.
///
/// # Errors
/// If they do not fit.
pub(super) fn from_base(base: u16, nodes: u16) -> Result<Vec<u16>, String> {
    let last = u32::from(base) + u32::from((nodes - 1) * STEP + PORTS_OF_A_NODE - 1);
    if u16::try_from(last).is_err() {
        return Err(format!(
            "the last node's ports would end at {last}; the highest port is 65535"
        ));
    }
    Ok((0..nodes).map(|node| base + node * STEP).collect())
}

/// A base whose ports are all free now.
///
/// # Errors
/// If none was found.
pub(super) fn free_base(nodes: u16) -> Result<u16, String> {
    // The standard library seeds it from the operating system.
    let seed = RandomState::new();
    let width = u64::from(FREE.end - FREE.start);
    (0..ATTEMPTS)
        .filter_map(|attempt| u16::try_from(seed.hash_one(attempt) % width).ok())
        .map(|offset| FREE.start + offset)
        .find(|base| from_base(*base, nodes).is_ok_and(|ports| ports.iter().all(is_free)))
        .ok_or_else(|| format!("no free ports were found in {ATTEMPTS} attempts"))
}

/// The first node (from 1) that could not have its ports, and why.
pub(super) fn taken(ports: &[u16]) -> Option<(usize, String)> {
    (1..).zip(ports).find_map(|(node, first)| {
        // The third is kept for later, and whoever has it is in nobody's way yet.
        let why = [*first, first + 1].into_iter().find_map(|port| {
            let address = (Ipv4Addr::LOCALHOST, port);
            TcpListener::bind(address).err().map(|error| format!("127.0.0.1:{port}: {error}"))
        });
        why.map(|why| (node, why))
    })
}

fn is_free(port: &u16) -> bool {
    (*port..port + PORTS_OF_A_NODE)
        .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

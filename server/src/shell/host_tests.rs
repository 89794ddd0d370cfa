//! A turn that is larger than what the log takes at once.

use stator_storage::log::{LogCore, LogEntry, Record};
use stator_storage::machine::GroupId;

use super::in_pieces;

fn entry(index: u64, bytes: usize) -> Record {
    let entry = LogEntry { index, term: 1, kind: 0, data: vec![0; bytes].into() };
    Record::Entry { group: GroupId(7), entry }
}

#[test]
fn a_turn_is_cut_where_it_has_to_be_and_nothing_is_lost() {
    let sizes = [10, 900, 100, 2000, 10, 10, 990];
    let records: Vec<Record> =
        (11..).zip(sizes).map(|(index, bytes)| entry(index, bytes)).collect();
    let whole = LogCore::weight(&records);
    assert_eq!(in_pieces(records.clone(), whole), [records.clone()].map(Vec::from));
    for bytes_max in [1, 1000, 1100, 2500, whole - 1] {
        let pieces = in_pieces(records.clone(), bytes_max);
        assert_eq!(pieces.concat(), records);
        assert!(pieces.len() > 1);
        for piece in &pieces {
            assert!(piece.len() == 1 || LogCore::weight(piece) <= bytes_max, "{bytes_max}");
        }
    }
}

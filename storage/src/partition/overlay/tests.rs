use std::collections::BTreeMap;

use proptest::prelude::*;
use stator_model::Item;

use super::*;

fn key(key: u8) -> Bytes {
    vec![key].into()
}

fn image(index: u64, size: u64) -> Image {
    Image { index, item: Some((EncodedItem::encode(&Item::new()), size)) }
}

fn size(overlay: &Overlay, of: u8) -> Option<u64> {
    overlay.get(&key(of)).map(|image| image.item.as_ref().unwrap().1)
}

#[test]
fn a_refused_entry_uncovers_the_image_of_the_one_before() {
    let mut overlay = Overlay::new();
    overlay.put(key(1), image(10, 100));
    overlay.put(key(1), image(11, 101));
    overlay.put(key(2), image(11, 102));
    overlay.refused(11);
    assert_eq!(size(&overlay, 1), Some(100));
    assert_eq!(size(&overlay, 2), None);
    overlay.applied(10);
    assert!(overlay.is_empty());
}

#[test]
fn an_applied_entry_leaves_the_images_of_later_ones() {
    let mut overlay = Overlay::new();
    overlay.put(key(1), image(10, 100));
    overlay.put(key(1), image(11, 101));
    overlay.applied(10);
    assert_eq!(size(&overlay, 1), Some(101));
    overlay.refused(11);
    assert_eq!(size(&overlay, 1), None);
}

#[test]
fn an_entry_that_writes_a_key_twice_leaves_one_image() {
    let mut overlay = Overlay::new();
    overlay.put(key(1), image(9, 99));
    overlay.put(key(1), image(10, 100));
    overlay.put(key(1), Image { index: 10, item: None });
    assert_eq!(overlay.get(&key(1)), Some(&Image { index: 10, item: None }));
    assert_eq!(overlay.images[&key(1)].len(), 2);
    overlay.refused(10);
    assert_eq!(size(&overlay, 1), Some(99));
}

#[test]
#[should_panic = "an image of an entry before the newest"]
fn images_come_in_the_order_of_entries() {
    let mut overlay = Overlay::new();
    overlay.put(key(1), image(11, 0));
    overlay.put(key(2), image(10, 0));
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes a key in the newest entry.
    Put(u8),
    /// Begins another entry.
    Next,
    /// Applies that many of the oldest.
    Apply(u64),
    /// Refuses that many of the newest.
    Refuse(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5u8).prop_map(Step::Put),
        3 => Just(Step::Next),
        1 => (0..3u64).prop_map(Step::Apply),
        1 => (1..3u64).prop_map(Step::Refuse),
    ]
}

proptest! {
    /// The reference keeps what each entry on its way writes, whole.
    #[test]
    fn the_newest_image_on_its_way_is_found(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut overlay = Overlay::new();
        let mut entries: BTreeMap<u64, BTreeMap<u8, u64>> = BTreeMap::new();
        let (mut newest, mut applied, mut size_now) = (1, 0, 0);
        for step in steps {
            match step {
                Step::Put(written) => {
                    size_now += 1;
                    overlay.put(key(written), image(newest, size_now));
                    entries.entry(newest).or_default().insert(written, size_now);
                }
                Step::Next => newest += 1,
                Step::Apply(count) => {
                    applied = (applied + count).min(newest - 1);
                    overlay.applied(applied);
                    entries.retain(|index, _| *index > applied);
                }
                Step::Refuse(count) => {
                    newest = newest.saturating_sub(count - 1).max(applied + 1);
                    overlay.refused(newest);
                    entries.retain(|index, _| *index < newest);
                }
            }
            for wanted in 0..5 {
                let expected = entries.iter().rev().find_map(|(index, writes)| {
                    writes.get(&wanted).map(|size| (*index, *size))
                });
                let found = overlay.get(&key(wanted)).map(|image| {
                    (image.index, image.item.as_ref().unwrap().1)
                });
                prop_assert_eq!(found, expected);
            }
        }
        overlay.refused(applied + 1);
        prop_assert!(overlay.is_empty());
    }
}

//! The corpus of the fuzz targets, replayed: each seed, each seed cut short at every length, and each with one byte changed.

#[path = "../../fuzz/decoders.rs"]
mod decoders;

use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus().join(target)).into_iter().flatten().flatten();
    entries.map(|entry| fs::read(entry.path()).expect("a seed")).collect()
}

#[test]
fn every_target_takes_its_corpus() {
    for (name, target) in decoders::ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no corpus");
        for seed in seeds {
            target(&seed);
            for len in 0..seed.len().min(512) {
                target(&seed[..len]);
            }
            for at in 0..seed.len().min(256) {
                let mut changed = seed.clone();
                for byte in [seed[at] ^ 0x01, seed[at] ^ 0x80, 0, 0xff] {
                    changed[at] = byte;
                    target(&changed);
                }
            }
        }
    }
}

/// Every target has its program, and no program is without its target.
#[test]
fn every_target_is_a_program() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let toml = fs::read_to_string(manifest.join("Cargo.toml")).expect("the manifest");
    assert_eq!(toml.matches("[[bin]]").count(), decoders::ALL.len());
    for (name, _) in decoders::ALL {
        assert!(toml.contains(&format!("name = \"{name}\"")), "{name}");
        let program = manifest.join(format!("fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(program).expect("a program");
        assert!(program.contains(&format!("decoders::{name}(data)")), "{name}");
    }
}

/// Writes the seeds that nobody can type. Run by hand when a format changes: `cargo test --test main fuzz -- --ignored`.
#[test]
#[ignore = "it writes into the source tree"]
fn binary_seeds_are_written() {
    for (target, name, bytes) in made::all() {
        let folder = corpus().join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), bytes).expect("a seed");
    }
}

/// Seeds, made by the code that writes what the targets read.
mod made {
    use bytes::Bytes;
    use stator_model::api::{
        BatchGetItem, BatchWriteItem, CreateTable, GetItem, GetItemAnswer, KeysAndAttributes,
        PutItem, Query, QueryAnswer, Scan, UpdateItem, WriteRequest,
    };
    use stator_model::key::Key;
    use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
    use stator_model::{Answer, AttributeValue, EncodedItem, Item, Number, Request};
    use stator_proto::operation::{encode_answer, encode_request};
    use stator_storage::item::{Region, Stamp, StoredItem};
    use stator_storage::key::EngineKey;
    use stator_storage::machine::{AppliedMark, GroupId};
    use stator_storage::partition::{
        AppliedRecord, Counters, Member, PartitionSpec, ReplicaState, SnapshotHeader,
    };

    type Seed = (&'static str, &'static str, Vec<u8>);

    fn item() -> Item {
        let text = |text: &str| AttributeValue::from(text);
        let inner = Item::from([(
            "x".to_owned(),
            AttributeValue::L(vec![text("y"), AttributeValue::Null]),
        )]);
        Item::from([
            ("p".to_owned(), text("key")),
            ("s".to_owned(), "-12.5e-3".parse::<Number>().expect("a number").into()),
            ("b".to_owned(), Bytes::from_static(&[0, 255]).into()),
            ("t".to_owned(), true.into()),
            ("ss".to_owned(), AttributeValue::Ss(["a".to_owned(), "b".to_owned()].into())),
            ("ns".to_owned(), AttributeValue::Ns([Number::from(1u64), Number::from(2u64)].into())),
            ("bs".to_owned(), AttributeValue::Bs([Bytes::from_static(b"z")].into())),
            ("m".to_owned(), inner.into()),
        ])
    }

    fn schema() -> KeySchema {
        let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
        KeySchema { partition: attribute("p", KeyType::S), sort: Some(attribute("s", KeyType::N)) }
    }

    /// A record without the checksum that the target adds.
    fn unchecked(record: &Bytes) -> Vec<u8> {
        record[..record.len() - 4].to_vec()
    }

    pub(super) fn all() -> Vec<Seed> {
        let encoded = EncodedItem::encode(&item());
        let key = Key::of_item(&schema(), &item()).expect("a key");
        let value = stator_model::codec::value_to_bytes(&AttributeValue::M(item()));
        let group = GroupId(1);
        let engine_key =
            EngineKey::Item { table_id: 7, hash: key.hash(), key: key.bytes().clone() };
        let stamp = Stamp { time: 1 << 40, region: Region::new("eu-1").expect("a name") };
        let stored = StoredItem { stamp, serialized: Some(9), item: encoded.clone() };
        let spec = PartitionSpec {
            group,
            table_id: 7,
            table_name: "music".to_owned(),
            generation: 3,
            hash_start: 0,
            hash_end: u64::MAX / 2,
            key_schema: schema(),
            region: Region::default(),
            members: (1..=3).map(|id| Member { replica: id, node: id }).collect(),
            replica: 2,
        };
        let mark = AppliedMark { index: 12, term: 3, voters: vec![1, 2, 3] };
        let counters = Counters { item_count: 5, size_bytes: 500 };
        let record = AppliedRecord {
            state: ReplicaState::Serving,
            mark: mark.clone(),
            generation: 3,
            highest_stamp: 1 << 40,
            counters,
            complete_from: 0,
            install_steps: 0,
        };
        let header = SnapshotHeader {
            id: 1,
            group,
            table_id: 7,
            hash_start: 0,
            hash_end: u64::MAX,
            generation: 3,
            mark,
            highest_stamp: 1 << 40,
            counters,
        };
        let mut seeds = vec![
            ("items", "every-type", encoded.as_bytes().to_vec()),
            ("values", "map", value.to_vec()),
            ("keys", "text-number", key.bytes().to_vec()),
            ("engine_keys", "item", engine_key.encode().to_vec()),
            ("engine_keys", "replica", EngineKey::Replica { group }.encode().to_vec()),
            ("stored_items", "with-region", stored.seal(b"fuzz").to_vec()),
            ("specs", "spec", unchecked(&spec.encode())),
            ("applied_records", "serving", unchecked(&record.encode(group))),
            ("snapshot_frames", "header", unchecked(&header.encode())),
            ("snapshot_frames", "chunk", chunk(&engine_key.encode(), &stored.seal(b"fuzz"))),
            ("entries", "put-and-delete", entry(&engine_key.encode(), &stored.seal(b"fuzz"))),
            ("log_segments", "records", frames()),
        ];
        seeds.extend(requests(&encoded));
        seeds.extend(answers(&encoded));
        seeds
    }

    /// A chunk of one item, without its checksum.
    fn chunk(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut chunk = vec![1, 2];
        chunk.extend(0u32.to_be_bytes());
        chunk.extend(1u32.to_be_bytes());
        for part in [key, value] {
            chunk.extend((part.len() as u32).to_be_bytes());
            chunk.extend(part);
        }
        chunk
    }

    /// An entry that puts one item and deletes another.
    fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut entry = vec![1, 0];
        entry.extend(2u32.to_be_bytes());
        for number in [3u64, 1, 1 << 40, 1, 100] {
            entry.extend(number.to_be_bytes());
        }
        for (kind, parts) in [(1u8, vec![key, value]), (2, vec![key])] {
            entry.push(kind);
            for part in parts {
                entry.extend((part.len() as u32).to_be_bytes());
                entry.extend(part);
            }
        }
        entry
    }

    /// Records of one group, as far as lengths go: the target does not mind their checksums. A hard state, two entries, a truncation,
    /// a reset and a tombstone, behind a page for the header.
    fn frames() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let entry = |index: u64| [&numbers(&[index, 1])[..], &[0], b"data"].concat();
        let bodies = [
            (3, numbers(&[1, 2, 0])),
            (2, entry(11)),
            (2, entry(12)),
            (4, numbers(&[11, 1])),
            (5, numbers(&[20, 2])),
            (6, Vec::new()),
        ];
        for (kind, fields) in bodies {
            bytes.extend([0; 4]);
            bytes.extend((9 + fields.len() as u32).to_le_bytes());
            bytes.push(kind);
            bytes.extend(numbers(&[7]));
            bytes.extend(fields);
        }
        bytes
    }

    fn numbers(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn requests(encoded: &EncodedItem) -> Vec<Seed> {
        let names = || [("#a".to_owned(), "a".to_owned())].into();
        let values = || [(":v".to_owned(), AttributeValue::M(item()))].into();
        let key = || Item::from([("p".to_owned(), "key".into()), ("s".to_owned(), 1.into())]);
        let requests: Vec<(&str, Request)> = vec![
            (
                "create-table",
                CreateTable {
                    table_name: "music".into(),
                    key_schema: schema(),
                    partitions: Some(3),
                    deletion_protection: true,
                }
                .into(),
            ),
            (
                "put-item",
                PutItem {
                    table_name: "music".into(),
                    item: encoded.clone(),
                    condition_expression: Some("#a = :v".into()),
                    expression_attribute_names: names(),
                    expression_attribute_values: values(),
                    ..PutItem::default()
                }
                .into(),
            ),
            (
                "update-item",
                UpdateItem {
                    table_name: "music".into(),
                    key: key(),
                    update_expression: Some("SET #a = :v".into()),
                    expression_attribute_names: names(),
                    expression_attribute_values: values(),
                    ..UpdateItem::default()
                }
                .into(),
            ),
            (
                "get-item",
                GetItem {
                    table_name: "music".into(),
                    key: key(),
                    projection_expression: Some("m.x[0], p".into()),
                    ..GetItem::default()
                }
                .into(),
            ),
            (
                "query",
                Query {
                    table_name: "music".into(),
                    key_condition_expression: "p = :p AND s > :s".into(),
                    expression_attribute_values: [
                        (":p".to_owned(), "key".into()),
                        (":s".to_owned(), 1.into()),
                    ]
                    .into(),
                    exclusive_start_key: Some(key()),
                    limit: Some(3),
                    ..Query::default()
                }
                .into(),
            ),
            ("scan", Scan { table_name: "music".into(), ..Scan::default() }.into()),
            (
                "batch-get",
                BatchGetItem {
                    request_items: [(
                        "music".to_owned(),
                        KeysAndAttributes { keys: vec![key()], ..KeysAndAttributes::default() },
                    )]
                    .into(),
                }
                .into(),
            ),
            (
                "batch-write",
                BatchWriteItem {
                    request_items: [(
                        "music".to_owned(),
                        vec![WriteRequest::Put(encoded.clone()), WriteRequest::Delete(key())],
                    )]
                    .into(),
                }
                .into(),
            ),
        ];
        let seed = |(name, request)| {
            let (operation, bytes) = encode_request(request).expect("a request");
            ("requests", name, [&[operation as u8][..], &bytes].concat())
        };
        requests.into_iter().map(seed).collect()
    }

    fn answers(encoded: &EncodedItem) -> Vec<Seed> {
        use stator_proto::peer::v1::Operation;
        let page = QueryAnswer {
            items: vec![encoded.clone(); 2],
            count: 2,
            scanned_count: 3,
            last_evaluated_key: Some(item()),
        };
        let answers = [
            (
                "get-item",
                Operation::GetItem,
                Answer::GetItem(GetItemAnswer { item: Some(encoded.clone()) }),
            ),
            ("query", Operation::Query, Answer::Query(page)),
        ];
        let seed = |(name, operation, answer)| {
            let bytes = encode_answer(answer).expect("an answer");
            ("answers", name, [&[operation as u8][..], &bytes].concat())
        };
        answers.into_iter().map(seed).collect()
    }
}

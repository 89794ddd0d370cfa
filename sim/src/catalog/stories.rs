//! What runs on the catalog: the controller, a node's search for replicas that it has missed, and callers who make and delete tables.

use stator_consensus::NodeId;
use stator_model::api::PutItem;
use stator_model::schema::TableStatus;
use stator_model::{AttributeValue, EncodedItem, Error, ErrorKind, Item, Number, Result};

use super::hands::Hands;
use super::look::{Ground, look};
use super::orders::{Order, Orders};
use super::placement::{Candidate, loads, place};
use super::records::TableRecord;
use super::requests;
use crate::items::{NODES, key_schema, node_id};
use crate::rng::Rng;
use crate::time::{MS, Ns};

/// The attribute that tells a write; as of all items of a run.
const LAST: &str = "last";

/// Looks at the catalog once, as the controller of a node.
pub(super) async fn control(orders: Orders) {
    // What cannot be looked at now is looked at later.
    let _ = look(&Hands(orders)).await;
}

/// Makes the replicas that were placed on a node while it was away.
pub(super) async fn make_missed(orders: Orders, own: NodeId) {
    let hands = Hands(orders);
    let Ok(tables) = hands.tables().await else { return };
    for table in tables.iter().filter(|table| table.status != TableStatus::Deleting) {
        for partition in &table.partitions {
            let fresh = table.status == TableStatus::Creating;
            let _ = hands.ensure_here(own, table, partition, fresh).await;
        }
    }
}

/// A caller's life with tables of one name, until the run comes to its end.
pub(super) async fn live(orders: Orders, name: String, mut rng: Rng) {
    let hands = Hands(orders);
    while !hands.0.is_over() {
        // Whoever is refused, or hears nothing, does something else next.
        let _ = match rng.below(3) {
            0 => delete_one(&hands, &name).await,
            _ => make_one(&hands, &name, &mut rng).await,
        };
        hands.sleep(rng.between(20 * MS, 2_000 * MS)).await;
    }
}

/// Makes a table, waits for it, and writes to it.
async fn make_one(hands: &Hands, name: &str, rng: &mut Rng) -> Result<()> {
    let tables = hands.tables().await?;
    if tables.iter().any(|table| table.name == name) {
        return Ok(());
    }
    let id = requests::given(hands.update(requests::next_id("table")).await?)?;
    let loads = loads(tables.iter().flat_map(|table| &table.partitions));
    let candidates = (0..NODES).map(|node| {
        let (replicas, first_ranked) = loads.get(&node_id(node)).copied().unwrap_or_default();
        Candidate {
            node: node_id(node),
            zone: String::new(),
            answers: true,
            replicas,
            first_ranked,
        }
    });
    let id = u32::try_from(id).map_err(|_| Error::internal("the table ids are used up"))?;
    let record = TableRecord {
        name: name.to_owned(),
        id,
        status: TableStatus::Creating,
        key_schema: key_schema(),
        created_ms: 0,
        deletion_protection: false,
        partitions: place(id, rng.between(1, 2) as u32, NODES, candidates.collect()),
    };
    let create = requests::create(&record.to_item()).prepare(&super::records::catalog_schema());
    if !requests::held(hands.write(create).await)? {
        return Ok(());
    }
    for _ in 0..rng.between(1, 200) {
        hands.sleep(50 * MS).await;
        if hands.0.is_over() {
            break;
        }
        let tables = hands.tables().await?;
        match tables.iter().find(|table| table.id == id).map(|table| table.status) {
            Some(TableStatus::Active) => return write_to_all(hands, &record).await,
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Writes an item into each partition of a table that was just made by who writes: nothing else may be in it.
async fn write_to_all(hands: &Hands, table: &TableRecord) -> Result<()> {
    for (at, partition) in table.partitions.iter().enumerate() {
        let range = partition.first_hash..=partition.last_hash;
        let (write, item) = (0u64..)
            .map(|number| item_of(&format!("new-{number}"), u64::from(table.id) * 16 + at as u64))
            .map(|item| (put_once(&item), item))
            .find(|(write, _)| write.as_ref().is_ok_and(|write| range.contains(&write.key.hash())))
            .ok_or_else(|| Error::internal("no item is in the partition"))?;
        let written = hands.write_to(partition.group, write?).await;
        if let Err(error) = &written
            && error.kind() == ErrorKind::ConditionalCheckFailed
        {
            hands.complain(format!("table {} is new, and holds {item:?}", table.id)).await;
        }
        written?;
    }
    Ok(())
}

/// Write ids of other items are far below these.
fn item_of(name: &str, write: u64) -> Item {
    let id = AttributeValue::N(Number::from((1 << 48) + write));
    Item::from([("pk".to_owned(), name.into()), (LAST.to_owned(), id)])
}

fn put_once(item: &Item) -> Result<stator_model::write::PreparedWrite> {
    PutItem {
        table_name: "new".to_owned(),
        item: EncodedItem::encode(item),
        condition_expression: Some("attribute_not_exists(pk)".to_owned()),
        ..PutItem::default()
    }
    .prepare(&key_schema())
}

/// Deletes the table of a name, as DeleteTable does.
async fn delete_one(hands: &Hands, name: &str) -> Result<()> {
    let tables = hands.tables().await?;
    let Some(table) = tables.iter().find(|table| table.name == name) else { return Ok(()) };
    if table.status == TableStatus::Active {
        let (from, to) = (TableStatus::Active.name().into(), TableStatus::Deleting.name().into());
        let change = requests::change(table, "status", from, to);
        requests::held(hands.update(change).await)?;
    }
    Ok(())
}

impl Hands {
    async fn sleep(&self, for_ns: Ns) {
        self.0.give(Order::Sleep(for_ns)).await;
    }

    async fn complain(&self, what: String) {
        self.0.give(Order::Complain(what)).await;
    }
}

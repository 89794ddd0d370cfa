//! Which node leads which part of a table, as far as the client knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use stator_model::Request;
use stator_model::api::Query;
use stator_model::codec::key_of_encoded;
use stator_model::error::{Error, ErrorKind, Result};
use stator_model::expr::{KeyCondition, Substitutions};
use stator_model::key::{HASH_NAME, Key, hash64, partition_prefix};
use stator_model::schema::KeySchema;
use stator_proto::v1::{DescribeRoutesResponse, RouteHint};
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// How long after asking for a table's routes it is not asked for them again.
const REFRESH_PAUSE: Duration = Duration::from_millis(200);

/// The routes of all tables that were used.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    tables: RwLock<BTreeMap<String, Entry>>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entry {
    routes: Option<Arc<TableRoutes>>,
    refreshing: bool,
    refreshed: Option<Instant>,
}

/// The routes of one table.
#[derive(Clone, Debug)]
struct TableRoutes {
    table_id: u32,
    schema: KeySchema,
    generation: u64,
    /// In order of their ranges.
    partitions: Vec<Partition>,
}

#[derive(Clone, Debug)]
struct Partition {
    first_hash: u64,
    last_hash: u64,
    leader: Option<String>,
    replicas: Vec<String>,
}

/// Where a request wants to go.
#[derive(Debug, Default)]
pub(super) struct Preference {
    table_name: Option<String>,
    hash: Option<u64>,
    leader: Option<String>,
    endpoints: Vec<String>,
}

impl Preference {
    /// The table, if the request is about items of one.
    pub(super) fn table_name(&self) -> Option<&str> {
        self.table_name.as_deref()
    }

    /// The nodes to try first, in order.
    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Whether this node was taken for the leader.
    pub(super) fn leads(&self, endpoint: &str) -> bool {
        self.leader.as_deref() == Some(endpoint)
    }
}

impl RouteCache {
    /// Where this request wants to go.
    pub(super) fn preference(&self, request: &Request) -> Preference {
        let Some((table_name, strongly)) = target(request) else { return Preference::default() };
        let mut preference =
            Preference { table_name: Some(table_name.to_owned()), ..Preference::default() };
        let Some(routes) = self.routes(table_name) else { return preference };
        // Whoever cannot be placed goes anywhere: the node says what is wrong with the request.
        preference.hash = hash_of(request, &routes.schema);
        let Some(partition) = preference.hash.and_then(|hash| routes.partition(hash)) else {
            return preference;
        };
        let mut endpoints = partition.replicas.clone();
        if !endpoints.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len();
            endpoints.rotate_left(turn);
        }
        if let (true, Some(leader)) = (strongly, &partition.leader) {
            endpoints.retain(|endpoint| endpoint != leader);
            endpoints.insert(0, leader.clone());
            preference.leader = Some(leader.clone());
        }
        preference.endpoints = endpoints;
        preference
    }

    /// Whether a table's routes are known.
    pub(super) fn knows(&self, table_name: &str) -> bool {
        self.routes(table_name).is_some()
    }

    /// Takes in routes that a node told, unless newer ones are there.
    ///
    /// # Errors
    /// `InternalServerError` if they make no sense.
    pub(super) fn install(&self, table_name: &str, told: DescribeRoutesResponse) -> Result<()> {
        let routes = TableRoutes::from_wire(told)?;
        self.change(table_name, |entry| {
            let newer = entry.routes.as_ref().is_some_and(|known| {
                known.table_id == routes.table_id && known.generation > routes.generation
            });
            if !newer {
                entry.routes = Some(Arc::new(routes));
            }
        });
        Ok(())
    }

    /// Forgets a table.
    pub(super) fn forget(&self, table_name: &str) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).remove(table_name);
    }

    /// Corrects the leader of a partition; false if the hint does not fit the routes that are there.
    pub(super) fn correct(&self, table_name: &str, hint: &RouteHint) -> bool {
        let leader = (!hint.leader_endpoint.is_empty()).then(|| hint.leader_endpoint.clone());
        self.correct_partition(table_name, hint.first_hash, |routes, partition| {
            let fits = routes.0 == hint.table_id
                && routes.1 <= hint.generation
                && partition.first_hash == hint.first_hash
                && partition.last_hash == hint.last_hash;
            if fits {
                partition.leader = leader;
            }
            fits
        })
    }

    /// Notes that this node does not lead the partition that a request went to.
    pub(super) fn doubt(&self, table_name: &str, preference: &Preference, endpoint: &str) {
        let Some(hash) = preference.hash else { return };
        self.correct_partition(table_name, hash, |_, partition| {
            if partition.leader.as_deref() == Some(endpoint) {
                partition.leader = None;
            }
            true
        });
    }

    /// Whether it is time to ask for a table's routes; if so, others are told no until the end of it.
    pub(super) fn begin_refresh(&self, table_name: &str) -> bool {
        let now = Instant::now();
        self.change(table_name, |entry| {
            let recently = entry.refreshed.is_some_and(|then| now < then + REFRESH_PAUSE);
            let begin = !entry.refreshing && !recently;
            entry.refreshing |= begin;
            begin
        })
    }

    /// Ends what `begin_refresh` began.
    pub(super) fn end_refresh(&self, table_name: &str) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = tables.get_mut(table_name) {
            entry.refreshing = false;
            entry.refreshed = Some(Instant::now());
        }
    }

    fn routes(&self, table_name: &str) -> Option<Arc<TableRoutes>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(table_name)?.routes.clone()
    }

    fn change<T>(&self, table_name: &str, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        change(tables.entry(table_name.to_owned()).or_default())
    }

    /// Changes the partition that holds this hash, given the table's id and generation.
    fn correct_partition(
        &self,
        table_name: &str,
        hash: u64,
        change: impl FnOnce((u32, u64), &mut Partition) -> bool,
    ) -> bool {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let routes = tables.get_mut(table_name).and_then(|entry| entry.routes.as_mut());
        let Some(routes) = routes.map(Arc::make_mut) else { return false };
        let table = (routes.table_id, routes.generation);
        routes.partition_mut(hash).is_some_and(|partition| change(table, partition))
    }
}

impl TableRoutes {
    fn from_wire(told: DescribeRoutesResponse) -> Result<Self> {
        let broken = |what: &str| {
            Error::new(ErrorKind::InternalServerError, format!("The routes make no sense: {what}"))
        };
        if told.hash_name != HASH_NAME {
            return Err(broken("keys are placed by a hash that this client does not know"));
        }
        let schema = told.key_schema.ok_or_else(|| broken("they have no key schema"))?;
        let nodes: BTreeMap<u64, String> =
            told.nodes.into_iter().map(|node| (node.node_id, node.endpoint)).collect();
        let mut partitions: Vec<_> = told
            .partitions
            .into_iter()
            .map(|partition| Partition {
                first_hash: partition.first_hash,
                last_hash: partition.last_hash,
                leader: partition.leader_node_id.and_then(|id| nodes.get(&id).cloned()),
                replicas: partition
                    .replica_node_ids
                    .iter()
                    .filter_map(|id| nodes.get(id).cloned())
                    .collect(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.first_hash);
        Ok(Self {
            table_id: told.table_id,
            schema: schema.try_into()?,
            generation: told.generation,
            partitions,
        })
    }

    fn position(&self, hash: u64) -> Option<usize> {
        let after = self.partitions.partition_point(|partition| partition.first_hash <= hash);
        let at = after.checked_sub(1)?;
        self.partitions.get(at).filter(|partition| hash <= partition.last_hash).map(|_| at)
    }

    fn partition(&self, hash: u64) -> Option<&Partition> {
        self.partitions.get(self.position(hash)?)
    }

    fn partition_mut(&mut self, hash: u64) -> Option<&mut Partition> {
        let at = self.position(hash)?;
        self.partitions.get_mut(at)
    }
}

/// The table whose items a request is about, and whether only its leaders may serve it. Batches are about many
/// partitions, and operations on tables about the catalog: those go anywhere.
fn target(request: &Request) -> Option<(&str, bool)> {
    let strongly = match request {
        Request::PutItem(_) | Request::UpdateItem(_) | Request::DeleteItem(_) => true,
        Request::GetItem(get) => get.consistent_read,
        Request::Query(query) => query.consistent_read,
        Request::Scan(scan) => scan.consistent_read,
        _ => return None,
    };
    Some((request.table_name(), strongly))
}

/// The hash of the partition key that a request is about, if it has one in good order.
fn hash_of(request: &Request, schema: &KeySchema) -> Option<u64> {
    let key = match request {
        Request::PutItem(put) => key_of_encoded(schema, &put.item),
        Request::UpdateItem(update) => Key::of_key_attributes(schema, &update.key),
        Request::DeleteItem(delete) => Key::of_key_attributes(schema, &delete.key),
        Request::GetItem(get) => Key::of_key_attributes(schema, &get.key),
        Request::Scan(scan) => Key::of_key_attributes(schema, scan.exclusive_start_key.as_ref()?),
        Request::Query(query) => return hash_of_query(query, schema),
        _ => return None,
    };
    key.ok().map(|key| key.hash())
}

fn hash_of_query(query: &Query, schema: &KeySchema) -> Option<u64> {
    let names = &query.expression_attribute_names;
    let values = &query.expression_attribute_values;
    let mut substitutions = Substitutions::new(names, values).ok()?;
    let text = &query.key_condition_expression;
    let condition = KeyCondition::parse(text, &mut substitutions, schema).ok()?;
    Some(hash64(&partition_prefix(schema, &condition.partition).ok()?))
}

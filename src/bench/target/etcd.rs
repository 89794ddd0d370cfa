//! etcd, for comparison: the same records under keys `TABLE/PARTITION_KEY` or `TABLE/PARTITION_KEY/POSITION`.
//!
//! A put is a Put, a strong read is a linearizable Range of one key, an eventual one is `serializable`, a batch is one Txn.
//! Callers are spread over all members. etcd's members forward writes to their leader, where Stator's client goes to each
//! partition's leader by itself.

mod messages;

use bytes::Bytes;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use self::messages::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, StatusRequest, StatusResponse,
    TxnRequest, TxnResponse,
};
use super::{Failed, Found, TIMEOUT};
use crate::bench::options::Settings;
use crate::bench::records::{Layout, RecordKey};
use crate::bench::workload::Operation;
use crate::cli::output::Failure;

/// Methods of the services `KV` and `Maintenance`.
const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// An etcd cluster.
pub(in crate::bench) struct Etcd {
    /// The first connection to each endpoint, then the second, and so on.
    channels: Vec<Channel>,
    prefix: String,
    layout: Layout,
    eventual: bool,
    version: String,
}

impl Etcd {
    /// Connects to all endpoints.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        let endpoints: Vec<Endpoint> = settings
            .endpoints
            .iter()
            .map(|given| {
                let endpoint = Endpoint::from_shared(given.clone());
                endpoint.map(|endpoint| endpoint.connect_timeout(TIMEOUT).tcp_nodelay(true))
            })
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::usage(format!("--endpoints: {error}")))?;
        let mut channels = Vec::new();
        for _ in 0..settings.channels_per_endpoint() {
            for (endpoint, name) in endpoints.iter().zip(&settings.endpoints) {
                let channel = endpoint.connect().await;
                let unreachable =
                    |error| Failure::unavailable(format!("{name} cannot be reached: {error}"));
                channels.push(channel.map_err(unreachable)?);
            }
        }
        let mut etcd = Self {
            channels,
            prefix: format!("{}/", settings.table),
            layout: settings.layout(),
            eventual: settings.workload.eventual(),
            version: String::new(),
        };
        let status = etcd.caller(0).call(STATUS, StatusRequest {}).await;
        let status: StatusResponse = status.map_err(|failed| Failure::refused(failed.text))?;
        etcd.version = format!("etcd {}, endpoints: {}", status.version, endpoints.len());
        Ok(etcd)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn caller(&self, number: usize) -> EtcdCaller {
        EtcdCaller {
            grpc: Grpc::new(self.channels[number % self.channels.len()].clone()),
            prefix: self.prefix.clone(),
            layout: self.layout,
            eventual: self.eventual,
        }
    }
}

/// A caller of etcd.
#[derive(Clone)]
pub(in crate::bench) struct EtcdCaller {
    grpc: Grpc<Channel>,
    prefix: String,
    layout: Layout,
    eventual: bool,
}

impl EtcdCaller {
    pub(super) async fn perform(&mut self, operation: Operation) -> Result<Found, Failed> {
        match operation {
            Operation::Read { record } => self.get(record).await,
            Operation::Range { record, items } => self.range(record, items).await,
            Operation::Update { record, value }
            | Operation::Put { record, value }
            | Operation::Insert { record, value } => self.put(record, value).await,
            Operation::ReadModifyWrite { record, value } => {
                let found = self.get(record).await?;
                self.put(record, value).await?;
                Ok(found)
            }
        }
    }

    async fn get(&mut self, record: u64) -> Result<Found, Failed> {
        let key = self.key(&self.layout.key(record));
        self.read(RangeRequest { key, serializable: self.eventual, ..RangeRequest::default() })
            .await
    }

    async fn range(&mut self, record: u64, items: u32) -> Result<Found, Failed> {
        let start = self.layout.key(record);
        // `0` is the character behind the `/` that all of a partition key's keys go on with.
        let range_end = format!("{}{}0", self.prefix, start.partition).into();
        let key = self.key(&start);
        let limit = i64::from(items);
        let serializable = self.eventual;
        self.read(RangeRequest { key, range_end, limit, serializable }).await
    }

    async fn read(&mut self, request: RangeRequest) -> Result<Found, Failed> {
        let response: RangeResponse = self.call(RANGE, request).await?;
        Ok(if response.kvs.is_empty() { Found::Nothing } else { Found::Something })
    }

    async fn put(&mut self, record: u64, value: Bytes) -> Result<Found, Failed> {
        let key = self.key(&self.layout.key(record));
        let _: PutResponse = self.call(PUT, PutRequest { key, value }).await?;
        Ok(Found::Something)
    }

    pub(super) async fn put_batch(
        &mut self,
        records: Vec<(RecordKey, Bytes)>,
    ) -> Result<(), Failed> {
        let put = |(key, value)| RequestOp { put: Some(PutRequest { key: self.key(&key), value }) };
        let success = records.into_iter().map(put).collect();
        let _: TxnResponse = self.call(TXN, TxnRequest { success }).await?;
        Ok(())
    }

    fn key(&self, key: &RecordKey) -> Bytes {
        let Self { prefix, .. } = self;
        match key.position {
            None => format!("{prefix}{}", key.partition),
            Some(position) => format!("{prefix}{}/{position:012}", key.partition),
        }
        .into()
    }

    async fn call<Q, A>(&mut self, method: &'static str, message: Q) -> Result<A, Failed>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let calling = async {
            self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PathAndQuery::from_static(method);
            self.grpc.unary(Request::new(message), path, ProstCodec::<Q, A>::default()).await
        };
        match tokio::time::timeout(TIMEOUT, calling).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => Err(failed(&Status::new(Code::DeadlineExceeded, "no answer in time"))),
        }
    }
}

fn failed(status: &Status) -> Failed {
    Failed { kind: format!("{:?}", status.code()), text: status.message().to_owned() }
}

#[cfg(test)]
mod tests;

//! A node of the generated service on a port of its own, with scripted answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::future::pending;
use futures::stream::{Empty, empty};
use stator_model::api::{self, *};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableDescription, TableStatus};
use stator_model::{Answer, Error, Request};
use stator_proto::metadata::FORWARDED_TO;
use stator_proto::operation::WireOperation;
use stator_proto::status::to_status;
use stator_proto::v1;
use stator_proto::v1::stator_server::{Stator, StatorServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

/// What the script makes of a request.
pub(super) enum Reply {
    /// Serves it.
    Serve,
    /// Serves it, and says that another node did.
    Forward,
    /// Refuses it, with a newer route if there is one.
    Refuse(Error, Option<v1::RouteHint>),
    /// Answers this status, which no node of Stator would.
    Status(Status),
    /// Never answers.
    Silence,
}

/// A node. Without a script it serves everything, with answers that say little.
pub(super) struct Fake {
    pub(super) endpoint: String,
    replies: Mutex<VecDeque<Reply>>,
    calls: Mutex<Vec<(Request, MetadataMap)>>,
    routes: Mutex<Option<v1::DescribeRoutesResponse>>,
    routes_asked: Mutex<usize>,
}

impl Fake {
    /// Starts a node; it stops with the test's runtime.
    pub(super) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            replies: Mutex::default(),
            calls: Mutex::default(),
            routes: Mutex::default(),
            routes_asked: Mutex::default(),
        });
        let service = StatorServer::new(Node(Arc::clone(&fake)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    pub(super) fn then(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    pub(super) fn set_routes(&self, routes: v1::DescribeRoutesResponse) {
        *self.routes.lock().unwrap() = Some(routes);
    }

    pub(super) fn routes_asked(&self) -> usize {
        *self.routes_asked.lock().unwrap()
    }

    /// The requests since the last time.
    pub(super) fn take_calls(&self) -> Vec<(Request, MetadataMap)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

/// What the service is implemented on.
struct Node(Arc<Fake>);

impl Node {
    async fn serve<O>(
        &self,
        request: tonic::Request<O::RequestMessage>,
        answer: O::Answer,
    ) -> Result<Response<O::ResponseMessage>, Status>
    where
        O: WireOperation,
    {
        let (metadata, _, message) = request.into_parts();
        let request = O::try_from(message).map_err(|error| to_status(&error, None, 4096))?;
        let detail_bytes_max = stator_proto::metadata::detail_bytes_max(&metadata);
        self.0.calls.lock().unwrap().push((request.into(), metadata));
        let reply = self.0.replies.lock().unwrap().pop_front().unwrap_or(Reply::Serve);
        let mut response = Response::new(O::ResponseMessage::from(answer));
        match reply {
            Reply::Serve => Ok(response),
            Reply::Forward => {
                let elsewhere = "http://127.0.0.1:1".parse().unwrap();
                response.metadata_mut().insert(FORWARDED_TO, elsewhere);
                Ok(response)
            }
            Reply::Refuse(error, hint) => Err(to_status(&error, hint, detail_bytes_max)),
            Reply::Status(status) => Err(status),
            Reply::Silence => pending().await,
        }
    }
}

/// The table that this node tells of.
pub(super) fn table() -> TableDescription {
    let partition = KeyAttribute { name: "p".to_owned(), key_type: KeyType::S };
    TableDescription {
        table_name: "t".to_owned(),
        table_id: 7,
        status: TableStatus::Active,
        key_schema: KeySchema { partition, sort: None },
        partitions: 4,
        created_ms: 1,
        item_count: 2,
        size_bytes: 3,
        deletion_protection: false,
    }
}

/// What this node answers when the script says nothing.
pub(super) fn answers() -> [Answer; 13] {
    [
        Answer::CreateTable(CreateTableAnswer { table: table() }),
        Answer::DescribeTable(DescribeTableAnswer { table: table() }),
        Answer::ListTables(ListTablesAnswer::default()),
        Answer::UpdateTable(UpdateTableAnswer { table: table() }),
        Answer::DeleteTable(DeleteTableAnswer { table: table() }),
        Answer::PutItem(PutItemAnswer::default()),
        Answer::GetItem(GetItemAnswer::default()),
        Answer::UpdateItem(UpdateItemAnswer::default()),
        Answer::DeleteItem(DeleteItemAnswer::default()),
        Answer::Query(QueryAnswer::default()),
        Answer::Scan(ScanAnswer::default()),
        Answer::BatchGetItem(BatchGetItemAnswer::default()),
        Answer::BatchWriteItem(BatchWriteItemAnswer::default()),
    ]
}

fn answer<O: Operation>() -> O::Answer {
    answers().into_iter().find_map(O::answer).unwrap()
}

macro_rules! methods {
    ($($method:ident: $operation:ident, $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl Stator for Node {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<v1::$request>,
                ) -> Result<Response<v1::$response>, Status> {
                    self.serve::<api::$operation>(request, answer::<api::$operation>()).await
                }
            )*

            type QueryPagesStream = Empty<Result<v1::QueryResponse, Status>>;
            type ScanPagesStream = Empty<Result<v1::ScanResponse, Status>>;

            async fn query_pages(
                &self,
                _: tonic::Request<v1::QueryRequest>,
            ) -> Result<Response<Self::QueryPagesStream>, Status> {
                Ok(Response::new(empty()))
            }

            async fn scan_pages(
                &self,
                _: tonic::Request<v1::ScanRequest>,
            ) -> Result<Response<Self::ScanPagesStream>, Status> {
                Ok(Response::new(empty()))
            }

            async fn describe_routes(
                &self,
                _: tonic::Request<v1::DescribeRoutesRequest>,
            ) -> Result<Response<v1::DescribeRoutesResponse>, Status> {
                *self.0.routes_asked.lock().unwrap() += 1;
                let routes = self.0.routes.lock().unwrap().clone();
                routes.map(Response::new).ok_or_else(|| Status::unimplemented("no routes"))
            }

            async fn describe_cluster(
                &self,
                _: tonic::Request<v1::DescribeClusterRequest>,
            ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
                let cluster_id = "c".to_owned();
                Ok(Response::new(v1::DescribeClusterResponse { cluster_id, ..Default::default() }))
            }
        }
    };
}

methods! {
    create_table: CreateTable, CreateTableRequest => CreateTableResponse;
    describe_table: DescribeTable, DescribeTableRequest => DescribeTableResponse;
    list_tables: ListTables, ListTablesRequest => ListTablesResponse;
    update_table: UpdateTable, UpdateTableRequest => UpdateTableResponse;
    delete_table: DeleteTable, DeleteTableRequest => DeleteTableResponse;
    put_item: PutItem, PutItemRequest => PutItemResponse;
    get_item: GetItem, GetItemRequest => GetItemResponse;
    update_item: UpdateItem, UpdateItemRequest => UpdateItemResponse;
    delete_item: DeleteItem, DeleteItemRequest => DeleteItemResponse;
    query: Query, QueryRequest => QueryResponse;
    scan: Scan, ScanRequest => ScanResponse;
    batch_get_item: BatchGetItem, BatchGetItemRequest => BatchGetItemResponse;
    batch_write_item: BatchWriteItem, BatchWriteItemRequest => BatchWriteItemResponse;
}

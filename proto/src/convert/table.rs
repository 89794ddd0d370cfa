//! Key schemas, table descriptions, and the operations on tables.

use stator_model::api;
use stator_model::error::{Error, Result};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableDescription, TableStatus};

use super::{broken_answer, missing, unknown_value};
use crate::v1;

impl From<KeyType> for v1::KeyType {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::S => Self::S,
            KeyType::N => Self::N,
            KeyType::B => Self::B,
        }
    }
}

impl From<KeyAttribute> for v1::KeyAttribute {
    fn from(attribute: KeyAttribute) -> Self {
        Self { name: attribute.name, r#type: v1::KeyType::from(attribute.key_type).into() }
    }
}

impl TryFrom<v1::KeyAttribute> for KeyAttribute {
    type Error = Error;

    fn try_from(attribute: v1::KeyAttribute) -> Result<Self> {
        let key_type = match v1::KeyType::try_from(attribute.r#type) {
            Ok(v1::KeyType::S) => KeyType::S,
            Ok(v1::KeyType::N) => KeyType::N,
            Ok(v1::KeyType::B) => KeyType::B,
            Ok(v1::KeyType::Unspecified) | Err(_) => {
                let name = "attributeDefinitions.member.attributeType";
                return Err(unknown_value(attribute.r#type, name, "B, N, S"));
            }
        };
        Ok(Self { name: attribute.name, key_type })
    }
}

impl From<KeySchema> for v1::KeySchema {
    fn from(schema: KeySchema) -> Self {
        Self { partition: Some(schema.partition.into()), sort: schema.sort.map(Into::into) }
    }
}

impl TryFrom<v1::KeySchema> for KeySchema {
    type Error = Error;

    fn try_from(schema: v1::KeySchema) -> Result<Self> {
        Ok(Self {
            partition: schema.partition.ok_or_else(|| missing("keySchema"))?.try_into()?,
            sort: schema.sort.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<TableStatus> for v1::TableStatus {
    fn from(status: TableStatus) -> Self {
        match status {
            TableStatus::Creating => Self::Creating,
            TableStatus::Active => Self::Active,
            TableStatus::Updating => Self::Updating,
            TableStatus::Deleting => Self::Deleting,
            // The model may learn a status before the wire does.
            _ => Self::Unspecified,
        }
    }
}

impl From<TableDescription> for v1::TableDescription {
    fn from(table: TableDescription) -> Self {
        Self {
            table_name: table.table_name,
            table_id: table.table_id,
            status: v1::TableStatus::from(table.status).into(),
            key_schema: Some(table.key_schema.into()),
            partitions: table.partitions,
            created_ms: table.created_ms,
            item_count: table.item_count,
            size_bytes: table.size_bytes,
            deletion_protection: table.deletion_protection,
        }
    }
}

/// Descriptions only ever come as answers, so what is wrong with one is the server's fault.
impl TryFrom<v1::TableDescription> for TableDescription {
    type Error = Error;

    fn try_from(table: v1::TableDescription) -> Result<Self> {
        let status = match v1::TableStatus::try_from(table.status) {
            Ok(v1::TableStatus::Creating) => TableStatus::Creating,
            Ok(v1::TableStatus::Active) => TableStatus::Active,
            Ok(v1::TableStatus::Updating) => TableStatus::Updating,
            Ok(v1::TableStatus::Deleting) => TableStatus::Deleting,
            Ok(v1::TableStatus::Unspecified) | Err(_) => {
                return Err(broken_answer("a table of an unknown status"));
            }
        };
        let schema = table.key_schema.ok_or_else(|| broken_answer("a table without a key"))?;
        Ok(Self {
            table_name: table.table_name,
            table_id: table.table_id,
            status,
            key_schema: schema.try_into().map_err(|error: Error| broken_answer(error.message()))?,
            partitions: table.partitions,
            created_ms: table.created_ms,
            item_count: table.item_count,
            size_bytes: table.size_bytes,
            deletion_protection: table.deletion_protection,
        })
    }
}

impl From<api::CreateTable> for v1::CreateTableRequest {
    fn from(request: api::CreateTable) -> Self {
        Self {
            table_name: request.table_name,
            key_schema: Some(request.key_schema.into()),
            partitions: request.partitions,
            deletion_protection: request.deletion_protection,
        }
    }
}

impl TryFrom<v1::CreateTableRequest> for api::CreateTable {
    type Error = Error;

    fn try_from(request: v1::CreateTableRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            key_schema: request.key_schema.ok_or_else(|| missing("keySchema"))?.try_into()?,
            partitions: request.partitions,
            deletion_protection: request.deletion_protection,
        })
    }
}

impl From<api::DescribeTable> for v1::DescribeTableRequest {
    fn from(request: api::DescribeTable) -> Self {
        Self { table_name: request.table_name }
    }
}

impl TryFrom<v1::DescribeTableRequest> for api::DescribeTable {
    type Error = Error;

    fn try_from(request: v1::DescribeTableRequest) -> Result<Self> {
        Ok(Self { table_name: request.table_name })
    }
}

impl From<api::ListTables> for v1::ListTablesRequest {
    fn from(request: api::ListTables) -> Self {
        Self {
            exclusive_start_table_name: request.exclusive_start_table_name,
            limit: request.limit,
        }
    }
}

impl TryFrom<v1::ListTablesRequest> for api::ListTables {
    type Error = Error;

    fn try_from(request: v1::ListTablesRequest) -> Result<Self> {
        Ok(Self {
            exclusive_start_table_name: request.exclusive_start_table_name,
            limit: request.limit,
        })
    }
}

impl From<api::ListTablesAnswer> for v1::ListTablesResponse {
    fn from(answer: api::ListTablesAnswer) -> Self {
        Self {
            table_names: answer.table_names,
            last_evaluated_table_name: answer.last_evaluated_table_name,
        }
    }
}

impl TryFrom<v1::ListTablesResponse> for api::ListTablesAnswer {
    type Error = Error;

    fn try_from(answer: v1::ListTablesResponse) -> Result<Self> {
        Ok(Self {
            table_names: answer.table_names,
            last_evaluated_table_name: answer.last_evaluated_table_name,
        })
    }
}

impl From<api::UpdateTable> for v1::UpdateTableRequest {
    fn from(request: api::UpdateTable) -> Self {
        Self { table_name: request.table_name, deletion_protection: request.deletion_protection }
    }
}

impl TryFrom<v1::UpdateTableRequest> for api::UpdateTable {
    type Error = Error;

    fn try_from(request: v1::UpdateTableRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            deletion_protection: request.deletion_protection,
        })
    }
}

impl From<api::DeleteTable> for v1::DeleteTableRequest {
    fn from(request: api::DeleteTable) -> Self {
        Self { table_name: request.table_name }
    }
}

impl TryFrom<v1::DeleteTableRequest> for api::DeleteTable {
    type Error = Error;

    fn try_from(request: v1::DeleteTableRequest) -> Result<Self> {
        Ok(Self { table_name: request.table_name })
    }
}

/// The four answers that are a table's description and nothing else.
macro_rules! describing_answers {
    ($($answer:ident <-> $response:ident),*) => { $(
        impl From<api::$answer> for v1::$response {
            fn from(answer: api::$answer) -> Self {
                Self { table: Some(answer.table.into()) }
            }
        }

        impl TryFrom<v1::$response> for api::$answer {
            type Error = Error;

            fn try_from(answer: v1::$response) -> Result<Self> {
                let table = answer.table.ok_or_else(|| broken_answer("it has no table"))?;
                Ok(Self { table: table.try_into()? })
            }
        }
    )* };
}

describing_answers! {
    CreateTableAnswer <-> CreateTableResponse,
    DescribeTableAnswer <-> DescribeTableResponse,
    UpdateTableAnswer <-> UpdateTableResponse,
    DeleteTableAnswer <-> DeleteTableResponse
}

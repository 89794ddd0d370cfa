//! What can be judged of a request without its table's schema. (skeleton)
use super::*;
macro_rules! stub { ($($n:ident)*) => { $(impl $n { /// Checks.
 pub fn validate(&self) -> Result<()> { todo!() } })* } }
stub!(CreateTable DescribeTable ListTables UpdateTable DeleteTable PutItem GetItem UpdateItem DeleteItem Query Scan BatchGetItem BatchWriteItem);

//! The keyspace of a node's engine, on one page. (skeleton)

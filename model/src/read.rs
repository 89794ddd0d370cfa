//! Reads, checked against a table key schema and ready to run. (skeleton)

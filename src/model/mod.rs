//! The values that travel: record, change, table, row. A leaf: no I/O, no async, no clock.

mod change;
mod declare;
mod document;
mod record;
mod resource_type;
mod reveal;
mod row;
mod table;
mod topic;

pub use change::{Change, Operation, ResourceKey, Version};
pub use document::{Document, DocumentError, DocumentLimits, Node};
pub use record::{Header, Offset, Origin, Record, TopicPartition};
pub use resource_type::{RESOURCE_TYPES, is_resource_type, resource_type_label};
pub use reveal::Reveal;
pub use row::{ResourceRows, Row, RowChange, RowOperation, RowSet, Value};
pub use table::{
    Catalog, Column, ColumnSource, ColumnType, Guard, RootTable, Table, TableIndex, TableName,
};
pub use topic::TopicSelector;

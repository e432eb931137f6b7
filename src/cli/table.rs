//! Tables for people.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};

/// A table with a header row.
pub(super) fn table<H, R>(header: H, rows: impl IntoIterator<Item = R>) -> Table
where
    H: IntoIterator<Item = &'static str>,
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table
}

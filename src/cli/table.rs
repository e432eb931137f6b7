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

/// Rows under their columns, no value ever cut: where the terminal is too narrow for that, each
/// row is a block of its own, a column a line.
pub(super) fn aligned(columns: &[&str], rows: &[Vec<String>]) -> String {
    // none if the output is no terminal
    let width = Table::new().width();
    aligned_within(columns, rows, width)
}

fn aligned_within(columns: &[&str], rows: &[Vec<String>], width: Option<u16>) -> String {
    let mut across = Table::new();
    across.load_style(ASCII_MARKDOWN);
    across.set_content_arrangement(ContentArrangement::Disabled);
    across.set_header(columns);
    across.add_rows(rows);
    let across = across.to_string();
    let widest = across.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let Some(width) = width.filter(|width| usize::from(*width) < widest) else { return across };
    let mut blocks = Vec::with_capacity(rows.len());
    for (place, row) in (1..).zip(rows) {
        let lines = columns.iter().zip(row).map(|(column, value)| [*column, value.as_str()]);
        let mut block = Table::new();
        block.load_style(ASCII_MARKDOWN);
        block.set_content_arrangement(ContentArrangement::Dynamic);
        block.set_width(width);
        block.set_header(["column".to_owned(), format!("row {place} of {}", rows.len())]);
        block.add_rows(lines);
        blocks.push(block.to_string());
    }
    blocks.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    #[test]
    fn columns_stand_across_where_there_is_room() {
        let rows = [cells(&["1", "Ng"]), cells(&["2", "Okafor"])];
        let shown = aligned_within(&["id", "family"], &rows, Some(80));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 4, "{shown}");
        assert!(lines[0].contains("id") && lines[0].contains("family"), "{shown}");
        assert!(lines[3].contains('2') && lines[3].contains("Okafor"), "{shown}");
    }

    #[test]
    fn a_terminal_too_narrow_gets_a_block_for_each_row() {
        let long = "a family name of more than thirty characters";
        let rows = [cells(&["1", "Ng"]), cells(&["2", long])];
        let shown = aligned_within(&["id", "family"], &rows, Some(30));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].contains("column") && lines[0].contains("row 1 of 2"), "{shown}");
        assert!(lines[2].contains("id") && lines[2].contains('1'), "{shown}");
        assert!(lines[3].contains("family") && lines[3].contains("Ng"), "{shown}");
        assert!(shown.contains("row 2 of 2"), "{shown}");
        assert!(lines.iter().all(|line| line.chars().count() <= 30), "{shown}");
        assert!(long.split(' ').all(|word| shown.contains(word)), "nothing is cut: {shown}");
    }

    #[test]
    fn no_value_is_cut_where_there_is_no_terminal() {
        let long = "x".repeat(5_000);
        let shown = aligned_within(&["long"], &[vec![long.clone()]], None);
        assert!(shown.lines().any(|line| line.contains(&long)));
    }
}

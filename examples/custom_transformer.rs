//! rowcast with a transformer written in Rust: heart rates, scored as NEWS2 does, become rows of
//! `vitals` in examples/vitals.db. Run it: `cargo run --example custom_transformer`
use rowcast::application::{Application, ApplicationError};
use rowcast::error::Refusal;
use rowcast::model::{Catalog, Change, ColumnType, ResourceRows, RootTable, Value};
use rowcast::transform::{Rows, Transformer, fhirpath::Path};
use std::time::Duration;

struct Vitals(Catalog, Path);

impl Transformer for Vitals {
    fn catalog(&self) -> &Catalog {
        &self.0
    }

    fn transform(&self, change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>> {
        let Some(mut rows) = Rows::of(&self.0, 0, change) else { return Ok(Vec::new()) };
        let rate = rows.read(&self.1, ColumnType::Int)?;
        if let Value::Int(beats) = rate {
            let score = [41, 51, 91, 111, 131].partition_point(|from| *from <= beats);
            rows.root([rate, Value::Int([3, 1, 0, 1, 2, 3][score])]);
        }
        Ok(vec![rows.finish()])
    }
}

#[tokio::main]
async fn main() -> Result<(), ApplicationError> {
    let table = RootTable::new("Observation", "vitals")
        .column("beats", ColumnType::Int)
        .column("news_score", ColumnType::Int);
    let rate = "where(code.coding.code = '8867-4').value.ofType(Quantity).value";
    let rate = Path::compile(rate, Some("Observation")).expect("a valid path");
    let file = std::env::args().nth(1).unwrap_or_else(|| "examples/vitals.yaml".to_owned());
    let rowcast = Application::load(file)?.transformer(Vitals(table.into(), rate));
    rowcast.create_tables().await?;
    rowcast.feed().await?.put("Observation/1", Some(include_str!("pulse.json"))).await?;
    rowcast.run_until_idle(Duration::from_secs(1)).await
}

//! A table filled anew beside live traffic, and whose it is: over every database at hand.

use std::collections::BTreeSet;
use std::time::Duration;

use rowcast::model::{Catalog, Offset, Value};
use rowcast::sink::{
    Claim, Owner, RebuildSource, Rulings, Sink as _, SinkError, SqlSink, TakenUp, TaskIdentity,
};

use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, databases, delete, delete_what_is_there, left_out,
    living_in, named, partition, rule, shown, table, upsert, views, with_history,
};
use super::{FILTERED, STALE, WRITTEN};
use rowcast::model::ColumnType;

/// A rebuild of the only root, taken up.
async fn rebuild(database: &TestDatabase, catalog: Catalog) -> TestSink<'_> {
    taken_up(database, catalog, "plan").await.0
}

async fn taken_up<'a>(
    database: &'a TestDatabase,
    catalog: Catalog,
    plan: &str,
) -> (TestSink<'a>, Option<Offset>) {
    let sink = database.bare_sink(catalog).await;
    let sink = sink.rebuilding(RebuildSource::Topic, [0], plan);
    let TakenUp { progress, .. } = sink.take_up(&[partition()], &[partition()]).await.unwrap();
    let (partition, found) = progress.into_iter().next().unwrap();
    let owner = Owner::Task { partition, epoch: found.epoch };
    (TestSink { database, sink, owner }, found.next_offset)
}

fn name(text: &str) -> Value {
    Value::Text(text.into())
}

#[tokio::test]
async fn a_rebuild_rewrites_rows_of_the_same_version_with_their_children() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[living_in("1", 3, 0, &["a", "b"]), living_in("2", 1, 1, &["c"])]).await;
        let again = rebuild(&database, catalog()).await;
        let outcomes =
            again.apply(&[living_in("1", 3, 0, &["new"]), named("2", 1, 1, name("new"))]).await;
        assert_eq!(outcomes, [WRITTEN, WRITTEN], "{}", database.name);
        assert_eq!(database.patients().await, ["1|3|n", "2|1|new"]);
        assert_eq!(database.addresses().await, ["1|new"]);
        assert_eq!(database.lines().await, ["1|new 1"]);
    }
}

#[tokio::test]
async fn a_rebuild_leaves_what_live_traffic_wrote_newer() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[upsert("1", 1, 0)]).await;
        let again = rebuild(&database, catalog()).await;
        live.apply(&[living_in("1", 2, 5, &["live"])]).await;
        assert_eq!(again.apply(&[named("1", 1, 0, name("old"))]).await, [STALE]);
        assert_eq!(database.addresses().await, ["1|live"]);
        assert_eq!(live.apply(&[upsert("1", 3, 6)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn a_rebuild_brings_nothing_back_that_was_deleted() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[upsert("1", 1, 0), upsert("2", 4, 1), upsert("3", 4, 2)]).await;
        live.apply(&[delete("1", 2, 3), delete("2", 4, 4), delete_what_is_there("3", 5)]).await;
        let again = rebuild(&database, catalog()).await;
        let old = [upsert("1", 1, 0), upsert("2", 4, 1), upsert("3", 4, 2)];
        assert_eq!(again.apply(&old).await, [STALE; 3], "{}", database.name);
        // one by one: as if the deletes were in a later batch, or gone from the topic
        for change in old {
            again.apply(&[change]).await;
        }
        assert!(database.patients().await.is_empty(), "{}", database.name);
    }
}

#[tokio::test]
async fn an_edited_where_takes_rows_out_and_lets_others_in() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[upsert("out", 2, 0), left_out("in", 2, 1), upsert("in", 1, 2)]).await;
        assert_eq!(database.patients().await, ["out|2|name 2"]);
        let again = rebuild(&database, catalog()).await;
        let outcomes = again.apply(&[left_out("out", 2, 0), upsert("in", 2, 1)]).await;
        assert_eq!(outcomes, [FILTERED, WRITTEN], "{}", database.name);
        assert_eq!(again.apply(&[upsert("in", 1, 2)]).await, [STALE]);
        assert_eq!(database.patients().await, ["in|2|name 2"]);
        assert_eq!(database.addresses().await, ["in|city 2"]);
        // and live traffic goes on as ever
        assert_eq!(live.apply(&[upsert("in", 2, 1), upsert("out", 2, 0)]).await, [STALE, STALE]);
        assert_eq!(live.apply(&[upsert("in", 3, 8)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn what_was_left_out_and_then_deleted_at_the_same_version_stays_out() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[left_out("1", 2, 0), left_out("2", 2, 1)]).await;
        assert_eq!(live.apply(&[delete("1", 2, 2)]).await, [WRITTEN]);
        live.apply(&[delete_what_is_there("2", 3)]).await;
        let again = rebuild(&database, catalog()).await;
        let mut elsewhere = upsert("2", 2, 1);
        elsewhere.origin.source.partition = 7;
        assert_eq!(again.apply(&[upsert("1", 2, 0), elsewhere]).await, [STALE, STALE]);
        assert!(database.patients().await.is_empty(), "{}", database.name);
    }
}

#[tokio::test]
async fn of_equal_versions_the_first_stays_in_a_rebuild_too() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[named("1", 1, 0, name("first")), named("1", 1, 1, name("second"))]).await;
        let again = rebuild(&database, catalog()).await;
        assert_eq!(again.apply(&[named("1", 1, 0, name("FIRST"))]).await, [WRITTEN]);
        assert_eq!(again.apply(&[named("1", 1, 1, name("SECOND"))]).await, [STALE]);
        assert_eq!(database.patients().await, ["1|1|FIRST"]);
    }
}

/// A table that was added to the rules: live traffic went past a delete before it was there, so
/// nothing is remembered of it.
#[tokio::test]
async fn a_delete_without_version_that_is_read_again_spares_what_came_after_it() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.sink.apply(&live.owner, &[&upsert("1", 3, 9)], Some(Offset(10))).await.unwrap();
        let again = rebuild(&database, catalog()).await;
        again.apply(&[upsert("1", 1, 0), upsert("2", 1, 1)]).await;
        again.apply(&[delete_what_is_there("1", 2), delete_what_is_there("2", 3)]).await;
        assert_eq!(database.patients().await, ["1|3|name 3"], "{}", database.name);
        again.apply(&[upsert("1", 2, 4), upsert("1", 3, 9)]).await;
        assert_eq!(database.patients().await, ["1|3|name 3"], "{}", database.name);
        // ahead of live traffic it removes whatever there is, as live traffic would
        again.apply(&[delete_what_is_there("1", 20)]).await;
        assert!(database.patients().await.is_empty(), "{}", database.name);
        assert_eq!(live.apply(&[delete_what_is_there("1", 20)]).await, [STALE]);
    }
}

#[tokio::test]
async fn only_the_tables_of_the_rebuild_are_written() {
    for database in databases().await {
        let both = || views(&["names", "other_names"]);
        let live = database.sink(both()).await;
        let change = |version, name: &str| {
            super::fixture::shown_in_all("1", version, version, &[&[name], &[name]])
        };
        live.apply(&[change(1, "old")]).await;
        let again = rebuild(&database, both()).await;
        for (version, name) in [(1, "new"), (2, "newer")] {
            assert_eq!(again.apply(&[change(version, name)]).await, [WRITTEN]);
            assert_eq!(database.rows("names", &["name"]).await, [name]);
            assert_eq!(database.rows("other_names", &["name"]).await, ["old"]);
        }
    }
}

#[tokio::test]
async fn a_view_that_makes_no_rows_any_more_loses_those_it_had() {
    for database in databases().await {
        let live = database.sink(views(&["names"])).await;
        live.apply(&[shown("1", 1, 0, &["a", "b"]), shown("2", 1, 1, &["c"])]).await;
        let again = rebuild(&database, views(&["names"])).await;
        again.apply(&[shown("1", 1, 0, &[]), shown("2", 1, 1, &["C", "D"])]).await;
        assert_eq!(database.rows("names", &["name"]).await, ["C", "D"]);
        again.sink.end_rebuild(None).await.unwrap();
        assert_eq!(database.guards().await, ["names|1|1", "names|2|1"], "{}", database.name);
    }
}

#[tokio::test]
async fn a_rebuild_goes_on_where_it_was_and_ends_without_a_trace() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.sink.apply(&live.owner, &[], Some(Offset(50))).await.unwrap();
        let (again, at) = taken_up(&database, catalog(), "plan").await;
        assert_eq!(at, None);
        let change = upsert("1", 1, 0);
        again.sink.apply(&again.owner, &[&change], Some(Offset(7))).await.unwrap();
        again.sink.remember_refusals(3).await.unwrap();
        let (resumed, at) = taken_up(&database, catalog(), "plan").await;
        assert_eq!(at, Some(Offset(7)));
        let refused = resumed.sink.take_up(&[], &[]).await.unwrap().refused;
        assert_eq!(refused, 3, "{}", database.name);
        let result = again.try_apply(&[upsert("1", 1, 0)]).await;
        assert!(matches!(result, Err(SinkError::Fenced)), "the former one: {result:?}");
        resumed.sink.end_rebuild(None).await.unwrap();
        assert_eq!(database.rows("rowcast_task", &["epoch", "next_offset"]).await, ["1|50"]);
        assert!(database.rows("rowcast_resource", &["version"]).await.is_empty());
        assert_eq!(live.apply(&[upsert("2", 1, 51)]).await, [WRITTEN], "live traffic still owns");
    }
}

#[tokio::test]
async fn a_rebuild_of_other_rules_begins_anew_and_fences_the_former() {
    for database in databases().await {
        database.sink(catalog()).await;
        let (former, _) = taken_up(&database, catalog(), "one").await;
        former.sink.apply(&former.owner, &[&upsert("1", 1, 0)], Some(Offset(9))).await.unwrap();
        let (latter, at) = taken_up(&database, catalog(), "two").await;
        assert_eq!(at, None);
        let result = former.try_apply(&[upsert("2", 1, 1)]).await;
        assert!(matches!(result, Err(SinkError::Fenced)), "{result:?}");
        assert_eq!(latter.apply(&[named("1", 1, 0, name("two"))]).await, [WRITTEN]);
        assert_eq!(database.patients().await, ["1|1|two"], "{}", database.name);
    }
}

#[tokio::test]
async fn a_cleared_table_has_no_rows_no_history_and_no_memory() {
    for database in databases().await {
        let live = database.sink(with_history()).await;
        let more: Vec<_> = (0..30).map(|n| upsert(&n.to_string(), 1, n)).collect();
        live.apply(&more).await;
        live.apply(&[delete("3", 2, 31), left_out("4", 2, 32)]).await;
        live.sink.clear(&BTreeSet::from([0])).await.unwrap();
        for table in [
            "patient",
            "patient_address",
            "patient_address_line",
            "patient_history",
            "patient_address_history",
            "patient_address_line_history",
            "rowcast_tombstone",
        ] {
            assert!(database.rows(table, &["source_resource_id"]).await.is_empty(), "{table}");
        }
        assert_eq!(live.apply(&[upsert("3", 1, 3), upsert("4", 1, 4)]).await, [WRITTEN, WRITTEN]);
    }
}

fn hashes(hash: &str) -> Vec<String> {
    vec![hash.to_owned()]
}

async fn of_topology(database: &TestDatabase, name: &str, catalog: Catalog) -> SqlSink {
    let identity = TaskIdentity { cluster_id: "cluster".into(), name: name.into() };
    SqlSink::connect(&database.url, 2, catalog.into(), identity).await.unwrap()
}

fn rules(claims: &[Claim]) -> Rulings {
    claims[0].rules
}

#[tokio::test]
async fn a_table_belongs_to_the_topology_that_claimed_it_first() {
    for database in databases().await {
        let first = database.sink(with_history()).await;
        assert_eq!(rules(&first.sink.claims(&hashes("a")).await.unwrap()), Rulings::Unclaimed);
        assert_eq!(rules(&first.sink.claim(&hashes("a")).await.unwrap()), Rulings::Current);
        let other = of_topology(&database, "other", catalog()).await;
        let claims = other.claim(&hashes("a")).await.unwrap();
        let (table, owner) = claims[0].taken.clone().unwrap();
        assert!(table.ends_with(".patient"), "{table}");
        assert_eq!(owner, "topology");
        let refusal = claims[0].refusal("other").unwrap();
        assert!(refusal.contains("`other`") && refusal.contains("--take-over"), "{refusal}");
        // a child of one is no root of another, and neither is its history
        for name in ["patient_address", "patient_history"] {
            let plain = catalog_of(vec![table_of(name)], false);
            let other = of_topology(&database, "third", plain).await;
            let claims = other.claim(&hashes("a")).await.unwrap();
            assert!(claims[0].taken.is_some(), "{} on {}", name, database.name);
        }
        let again = of_topology(&database, "topology", with_history()).await;
        let claims = again.claim(&hashes("b")).await.unwrap();
        assert_eq!((claims[0].taken.clone(), rules(&claims)), (None, Rulings::Others));
        assert!(claims[0].warning().unwrap().contains("rowcast rebuild --table patient"));
        other.record_claims([(0, Some("c"))]).await.unwrap();
        assert_eq!(rules(&other.claims(&hashes("c")).await.unwrap()), Rulings::Current);
        assert!(again.claims(&hashes("c")).await.unwrap()[0].taken.is_some());
    }
}

fn table_of(name: &str) -> rowcast::model::Table {
    table(name, None, vec![rule("name", ColumnType::String)])
}

#[tokio::test]
async fn of_two_topologies_that_start_at_once_one_gets_the_table() {
    for database in databases().await {
        database.sink(catalog()).await;
        for round in 0..5 {
            database.execute("DELETE FROM rowcast_table").await;
            let one = of_topology(&database, "one", catalog()).await;
            let two = of_topology(&database, "two", catalog()).await;
            let hash = hashes("a");
            let (one, two) = tokio::join!(one.claim(&hash), two.claim(&hash));
            let lost = |claims: Vec<Claim>| claims[0].taken.is_some();
            assert_ne!(lost(one.unwrap()), lost(two.unwrap()), "{} {round}", database.name);
        }
    }
}

#[tokio::test]
async fn bookkeeping_tables_of_an_older_rowcast_get_the_columns_they_lack() {
    for database in databases().await {
        database.sink(catalog()).await;
        database.execute("DROP TABLE rowcast_table").await;
        let text = database.pick("text", "varbinary(600)", "text");
        let old = format!("CREATE TABLE rowcast_table (table_name {text} NOT NULL PRIMARY KEY)");
        database.execute(&old).await;
        database.execute("ALTER TABLE rowcast_tombstone DROP COLUMN left_out").await;
        let sink = of_topology(&database, "topology", catalog()).await;
        assert_eq!(rules(&sink.claim(&hashes("a")).await.unwrap()), Rulings::Current);
        let sink = TestSink::new(&database, sink).await;
        assert_eq!(
            sink.apply(&[delete("1", 2, 0), left_out("2", 1, 1)]).await,
            [WRITTEN, FILTERED]
        );
    }
}

#[tokio::test]
async fn a_delete_without_version_that_a_rebuild_finds_refused_is_tried_by_the_next() {
    for database in databases().await {
        let live = database.sink(catalog()).await;
        live.apply(&[upsert("1", 1, 0)]).await;
        let again = rebuild(&database, catalog()).await;
        let refused = delete_what_is_there("1", 4);
        again.sink.note_refused_delete(&again.owner, &refused).await.unwrap();
        let next = taken_up(&database, catalog(), "another plan").await.0;
        assert_eq!(next.apply(&[upsert("1", 1, 0), refused]).await, [STALE, WRITTEN]);
        assert!(database.patients().await.is_empty(), "{}", database.name);
    }
}

#[tokio::test]
async fn one_connection_is_enough_to_claim_tables_that_were_not_looked_at_yet() {
    for database in databases().await {
        database.sink(catalog()).await;
        let fresh = || async {
            let identity = TaskIdentity { cluster_id: "cluster".into(), name: "topology".into() };
            SqlSink::connect(&database.url, 1, catalog().into(), identity).await.unwrap()
        };
        let claimed = async {
            fresh().await.claim(&hashes("a")).await.unwrap();
            fresh().await.claims(&hashes("a")).await.unwrap()
        };
        let claims = tokio::time::timeout(Duration::from_secs(30), claimed).await;
        assert_eq!(rules(&claims.expect("it waits for nobody")), Rulings::Current);
    }
}

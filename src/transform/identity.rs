//! The ids that rowcast makes itself.
//!
//! In: a resource, a table, the place of an element. Out: a UUIDv5, always the same for the same,
//! so that redelivery and replay meet the rows they made before and children know their parent's
//! id without a round trip to the database. No clock, no randomness.

use sha1::{Digest as _, Sha1};
use uuid::{Builder, Uuid};

use crate::model::ResourceKey;

/// Namespace of all ids made here. Never changes: a new one would orphan every row written.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f2c_43a1_9d0e_4b57_8a66_d1f3_0b9e_72c4);

/// Id of a resource's row in a root table.
pub(super) fn root(table: &str, resource: &ResourceKey) -> Uuid {
    uuid_v5(NAMESPACE, &[table, "\0", &resource.resource_type, "\0", &resource.id])
}

/// Id of the row of the element with this index below the parent's row. The table stands for
/// the element's path, because a table is filled from one path only.
pub(super) fn child(parent: Uuid, table: &str, index: usize) -> Uuid {
    uuid_v5(parent, &[table, "\0", &index.to_string()])
}

/// The UUIDv5 of a name given in parts. [`Uuid::new_v5`] would make the same of the whole name,
/// but hashes without the processor's help, which takes half as long again.
fn uuid_v5(namespace: Uuid, name: &[&str]) -> Uuid {
    let mut hash = Sha1::new_with_prefix(namespace);
    for part in name {
        hash.update(part);
    }
    let [bytes @ .., _, _, _, _]: [u8; 20] = hash.finalize().into();
    Builder::from_sha1_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_in_every_run_and_release() {
        let resource = ResourceKey { resource_type: "Patient".into(), id: "123".into() };
        let root = root("patient", &resource);
        assert_eq!(root, Uuid::new_v5(&NAMESPACE, "patient\0Patient\x00123".as_bytes()));
        assert_eq!(root.to_string(), "eaf562c3-2c9a-54cd-9bcc-86924ef830fb");
        assert_eq!(
            child(root, "patient_name", 1).to_string(),
            "b0a58280-6dbc-5168-bc6f-e10e6a203128"
        );
    }
}

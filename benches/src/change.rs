//! The message of the comparisons: that of the demonstration, 130 bytes of JSON with a key of 36.

use std::sync::OnceLock;

use binder_core::prelude::*;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub action: String,
    pub organization_id: String,
    pub correlation_id: String,
}

/// A thousand changes, over and over.
pub fn changes(count: usize) -> impl Iterator<Item = &'static Change> + Send {
    static CHANGES: OnceLock<Vec<Change>> = OnceLock::new();
    let change = |number: usize| Change {
        action: "UPDATE".to_owned(),
        organization_id: format!("{number:08x}-2f1c-4b7e-9a60-{number:012x}"),
        correlation_id: format!("{:08x}-7d3a-4c15-8e42-{number:012x}", number * 7919),
    };
    CHANGES.get_or_init(|| (0..1000).map(change).collect()).iter().cycle().take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_as_many_bytes_as_the_table_says() {
        assert!(changes(1000).all(|change| serde_json::to_vec(change).expect("JSON").len() == 130));
    }
}

//! Where a thing comes from: the record that stands in every manifest, commit, artefact, report and receipt.
//!
//! In: hashes of inputs, code and configuration.  Out: one identity hash; equal identity means no work to do.
//! Never here: clocks or run counters as part of the identity.
//! Start at [`Provenance::identity`].

use std::collections::BTreeMap;

/// Everything a result depends on, and the run that made it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// What was read: name → version or content hash.
    pub inputs: BTreeMap<String, String>,
    /// Hash of the code that is the user's: SQL text, or empty.
    pub code_hash: String,
    /// Hash of the configuration that shaped the result.
    pub config_hash: String,
    /// Seed of everything random, when something is.
    pub seed: Option<u64>,
    /// Name and major version of the engine, such as `datafusion-55`.
    pub engine: String,
    /// Version of the format of the result.
    pub format_version: u32,
    /// The run that made it; not part of the identity.
    pub run_id: String,
}

impl Provenance {
    /// Hash of everything but `run_id`: equal identities mean that the work is already done.
    pub fn identity(&self) -> String {
        let mut anonymous = self.clone();
        anonymous.run_id.clear();
        // Every field has a JSON form and every map key is text, so hashing cannot fail;
        // an empty identity equals no other record's and only costs a rerun.
        crate::hash_json(&anonymous).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_ignores_the_run_and_nothing_else() {
        let first = Provenance { run_id: "a".into(), ..Provenance::default() };
        let again = Provenance { run_id: "b".into(), ..Provenance::default() };
        let other_seed = Provenance { seed: Some(7), ..Provenance::default() };
        assert_eq!(first.identity(), again.identity());
        assert_ne!(first.identity(), other_seed.identity());
    }
}

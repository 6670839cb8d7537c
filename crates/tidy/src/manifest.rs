//! What the rules need of a crate's `Cargo.toml`: whom it depends on, and whether it takes the workspace lints.
//!
//! In: the text.  Out: a [`Manifest`].  A reader of the shapes that Cargo files have here, not of all TOML.
//! Never here: rules.
//! Start at [`Manifest::parse`].

/// How a dependency is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

/// One line of a dependency table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// 1-based.
    pub(crate) line: usize,
}

/// What a crate's manifest says.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) takes_workspace_lints: bool,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut section = String::new();
        let mut depth = 0_usize;
        for (index, raw) in text.lines().enumerate() {
            let line = raw.split('#').next().unwrap_or_default().trim();
            if depth == 0 && line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
                if let Some((kind, name)) = table_of_one(&section) {
                    manifest.dependencies.push(Dependency { name, kind, line: index + 1 });
                }
                continue;
            }
            if depth == 0
                && let Some((key, value)) = line.split_once('=')
            {
                let key = key.trim();
                if let Some(kind) = kind_of(&section) {
                    let name = key.split('.').next().unwrap_or(key).trim_matches('"').to_owned();
                    manifest.dependencies.push(Dependency { name, kind, line: index + 1 });
                }
                if section == "lints" && key == "workspace" && value.trim() == "true" {
                    manifest.takes_workspace_lints = true;
                }
            }
            let opened = line.matches(['[', '{']).count();
            let closed = line.matches([']', '}']).count();
            depth = (depth + opened).saturating_sub(closed);
        }
        manifest
    }

    /// Dependencies that are part of what is built for users.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev)
    }
}

/// `dependencies`, `target.'cfg(unix)'.dev-dependencies` …
fn kind_of(section: &str) -> Option<Kind> {
    let ends_with = |name: &str| section == name || section.ends_with(&format!(".{name}"));
    if ends_with("dev-dependencies") {
        Some(Kind::Dev)
    } else if ends_with("build-dependencies") {
        Some(Kind::Build)
    } else if ends_with("dependencies") {
        Some(Kind::Normal)
    } else {
        None
    }
}

/// `dependencies.name` as a table of its own.
fn table_of_one(section: &str) -> Option<(Kind, String)> {
    let (table, name) = section.rsplit_once('.')?;
    Some((kind_of(table)?, name.trim_matches('"').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_a_dependency_is_read() {
        let manifest = Manifest::parse(
            "[package]\nname = \"x\" # not a dependency\n[dependencies]\na.workspace = true\nb = { version = \"1\", features = [\n  \"c\",\n] }\n\
             [dependencies.d]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n[dev-dependencies]\nf = \"1\"\n\
             [build-dependencies]\ng = \"1\"\n[lints]\nworkspace = true\n",
        );
        let read: Vec<_> = manifest.dependencies.iter().map(|d| (d.name.as_str(), d.kind, d.line)).collect();
        assert_eq!(
            read,
            [
                ("a", Kind::Normal, 4),
                ("b", Kind::Normal, 5),
                ("d", Kind::Normal, 8),
                ("e", Kind::Normal, 11),
                ("f", Kind::Dev, 13),
                ("g", Kind::Build, 15),
            ]
        );
        assert!(manifest.takes_workspace_lints);
        assert!(!Manifest::parse("[lints.rust]\nunsafe_code = \"allow\"\n").takes_workspace_lints);
    }
}

//! The graph of packages in `Cargo.lock`.
//!
//! In: the text of the lock file.  Out: versions by name, and the packages that a package brings along.
//! Never here: rules.
//! Start at [`Lock::parse`].

use std::collections::{BTreeMap, VecDeque};

/// One `[[package]]`.
#[derive(Debug, Default)]
struct Package {
    name: String,
    version: String,
    /// As written: `name`, or `name version` where two versions exist.
    dependencies: Vec<String>,
    /// Without a source it is a crate of this workspace.
    is_local: bool,
}

/// The packages of the lock file.
#[derive(Debug, Default)]
pub(crate) struct Lock {
    packages: Vec<Package>,
}

impl Lock {
    pub(crate) fn parse(text: &str) -> Self {
        let mut packages: Vec<Package> = Vec::new();
        for line in text.lines() {
            if line == "[[package]]" {
                packages.push(Package { is_local: true, ..Package::default() });
                continue;
            }
            let Some(package) = packages.last_mut() else { continue };
            if let Some(name) = quoted(line, "name = ") {
                package.name = name;
            } else if let Some(version) = quoted(line, "version = ") {
                package.version = version;
            } else if line.starts_with("source = ") {
                package.is_local = false;
            } else if let Some(dependency) = quoted(line.trim_start().trim_end_matches(','), "") {
                package.dependencies.push(dependency);
            }
        }
        Self { packages }
    }

    /// The versions of a package.
    pub(crate) fn versions(&self, name: &str) -> Vec<&str> {
        self.packages.iter().filter(|package| package.name == name).map(|package| package.version.as_str()).collect()
    }

    /// Every package that `start` brings along, with the chain of names that leads to it.
    ///
    /// The lock file does not tell dev-dependencies apart, so `is_shipped(crate, dependency)` says of each dependency of a
    /// workspace crate whether it counts. For other packages the file lists what any feature in use needs: a superset.
    pub(crate) fn closure(
        &self,
        start: &str,
        is_shipped: impl Fn(&str, &str) -> bool,
    ) -> BTreeMap<String, Vec<String>> {
        let mut reached: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut queue: VecDeque<usize> = VecDeque::new();
        for (index, _) in
            self.packages.iter().enumerate().filter(|(_, package)| package.is_local && package.name == start)
        {
            reached.insert(index, vec![start.to_owned()]);
            queue.push_back(index);
        }
        while let Some(index) = queue.pop_front() {
            let package = &self.packages[index];
            let chain = reached.get(&index).cloned().unwrap_or_default();
            for reference in &package.dependencies {
                let mut words = reference.split(' ');
                let (name, version) = (words.next().unwrap_or_default(), words.next());
                if package.is_local && !is_shipped(&package.name, name) {
                    continue;
                }
                let found = self.packages.iter().position(|candidate| {
                    candidate.name == name && version.is_none_or(|version| candidate.version == version)
                });
                if let Some(next) = found
                    && !reached.contains_key(&next)
                {
                    let mut longer = chain.clone();
                    longer.push(name.to_owned());
                    reached.insert(next, longer);
                    queue.push_back(next);
                }
            }
        }
        reached.into_iter().map(|(index, chain)| (self.packages[index].name.clone(), chain)).collect()
    }
}

fn quoted(line: &str, key: &str) -> Option<String> {
    Some(line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closure_follows_versions_and_skips_what_is_not_shipped() {
        let lock = Lock::parse(
            "[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n \"dev\",\n]\n\n\
             [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"r\"\ndependencies = [\n \"b 2.0.0\",\n]\n\n\
             [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"r\"\ndependencies = [\n \"c\",\n]\n\n\
             [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nsource = \"r\"\n\n\
             [[package]]\nname = \"c\"\nversion = \"1.0.0\"\nsource = \"r\"\n\n\
             [[package]]\nname = \"dev\"\nversion = \"1.0.0\"\nsource = \"r\"\n",
        );
        let names: Vec<_> = lock.closure("app", |_, name| name != "dev").into_values().collect();
        assert_eq!(names, [vec!["app", "a"], vec!["app"], vec!["app", "a", "b"]]);
        assert_eq!(lock.versions("b"), ["1.0.0", "2.0.0"]);
    }
}

//! The files that `init` proposes: an empty project, or sources and staging models for the tables of a database.
//!
//! In: what `connect` discovered.  Out: file names and texts; [`write`] puts them down without touching what exists.
//! The database's URL is never among them: the source names an environment variable.
//! Never here: guessing marts or recommenders; they need a person who knows what the tables mean.
//! Start at [`of_database`].

use std::path::Path;

use connect::DiscoveredTable;

use crate::PipelineError;
use crate::template::write_new;

/// A file to write: name relative to the project, and text.
type Proposed = (String, String);

/// Writes the files that do not exist yet, and returns their names.
pub(crate) fn write(dir: &Path, files: &[Proposed]) -> Result<Vec<String>, PipelineError> {
    let mut written = Vec::new();
    for (name, text) in files {
        if write_new(dir, name, text.as_bytes())? {
            written.push(name.clone());
        }
    }
    Ok(written)
}

/// A project without sources.
pub(crate) fn minimal(dir: &Path) -> Vec<Proposed> {
    vec![("montauk.toml".to_owned(), settings(dir)), (".gitignore".to_owned(), ".montauk/\n.env\n".to_owned())]
}

/// A project with one source, named after what it is, and a staging model per table.
pub(crate) fn of_database(dir: &Path, scheme: &str, env: &str, tables: &[DiscoveredTable]) -> Vec<Proposed> {
    let kind = if scheme.starts_with("postgres") { "postgres" } else { scheme };
    let source = "app_db";
    let mut files = minimal(dir);
    files.push((".env.example".to_owned(), format!("{env}={kind}://user:password@host/database\n")));
    let mut text = format!("kind = \"{kind}\"\nurl = \"${{{env}}}\"    # a user that may only read\n");
    // What `publish` keeps in a database for itself is no data of its owner.
    for table in tables.iter().filter(|table| !table.name.ends_with(".montauk_receipts")) {
        let name = identifier(&table.name);
        let rows = table.approximate_rows.map_or(String::new(), |rows| format!("    # about {rows} rows"));
        text += &format!("\n[tables.{name}]{rows}\ntable = {}\n", toml_text(&table.name));
        files.push((format!("models/staging/stg_{name}.sql"), staging_model(source, &name, table)));
    }
    files.push((format!("sources/{source}.toml"), text));
    files
}

fn settings(dir: &Path) -> String {
    let name = dir.file_name().map_or("project".to_owned(), |name| identifier(&name.to_string_lossy()));
    format!("[project]\nname = \"{name}\"\n")
}

/// Every column under a name that SQL takes without quotes; checks for the key, if there is one.
fn staging_model(source: &str, name: &str, table: &DiscoveredTable) -> String {
    let target = format!("raw.{source}_{name}");
    // The raw table has the source's names as far as a table can; the model reads those.
    let raw = warehouse::column_names(table.columns.iter().map(|column| column.name.as_str()));
    let columns: Vec<String> = raw
        .iter()
        .map(|name| {
            let plain = identifier(name);
            let quoted = domain::quote_identifier(domain::Dialect::Standard, name);
            if plain == *name { format!("    {plain}") } else { format!("    {quoted} as {plain}") }
        })
        .collect();
    let key: Vec<String> = table.primary_key.iter().map(|column| identifier(column)).collect();
    let checks = match key.join(", ") {
        key if key.is_empty() => String::new(),
        key => format!("-- grain: {key}\n-- checks: unique({key})  not_null({key})\n"),
    };
    format!(
        "-- One row per row of `{}`, with plain names.\n-- materialized: view\n{checks}select\n{}\nfrom {target}\n",
        table.name,
        columns.join(",\n")
    )
}

/// Lower-case letters, digits and `_`; what is none of these becomes `_`.
fn identifier(name: &str) -> String {
    let plain: String = name
        .chars()
        .flat_map(char::to_lowercase)
        .map(|letter| if letter.is_alphanumeric() || letter == '_' { letter } else { '_' })
        .collect();
    if plain.starts_with(|first: char| first.is_ascii_digit()) || plain.is_empty() {
        format!("_{plain}")
    } else {
        plain
    }
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use connect::DiscoveredColumn;

    use super::*;

    #[test]
    fn a_database_becomes_a_source_and_a_staging_model_per_table() {
        let column = |name: &str| DiscoveredColumn {
            name: name.to_owned(),
            source_type: "bigint".to_owned(),
            staged_type: "Int64".to_owned(),
            is_nullable: false,
        };
        let table = DiscoveredTable {
            name: "shop.Order Lines".to_owned(),
            columns: vec![column("id"), column("Unit Price")],
            primary_key: vec!["id".to_owned()],
            approximate_rows: Some(12),
        };
        let files = of_database(Path::new("/x/acme"), "mariadb", "SHOP_DB_URL", &[table]);
        let text = |name: &str| &files.iter().find(|(file, _)| file == name).unwrap().1;
        assert_eq!(
            text("sources/app_db.toml"),
            "kind = \"mariadb\"\nurl = \"${SHOP_DB_URL}\"    # a user that may only read\n\n\
             [tables.shop_order_lines]    # about 12 rows\ntable = \"shop.Order Lines\"\n"
        );
        let model = text("models/staging/stg_shop_order_lines.sql");
        assert!(
            model.contains("    id,\n    \"Unit_Price\" as unit_price\nfrom raw.app_db_shop_order_lines"),
            "{model}"
        );
        assert!(model.contains("-- checks: unique(id)  not_null(id)"), "{model}");
    }
}

//! `[[zones]]`, or `[zones] directory` where each `NAME.zone` is a zone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::meaning::Zone;
use super::report::{At, Report, quoted};
use super::settings::path;
use super::table::{Table, Value};
use super::words::closest;
use crate::model::{Files, Name, ZoneId};

/// A zone as typed. What has errors is missing, and was reported.
pub(super) struct ZoneSpec {
    pub(super) name: Option<At<Name>>,
    pub(super) file: Option<At<PathBuf>>,
    ecs: bool,
    /// Its folder was listed, and it is there.
    listed: bool,
}

/// Reads `zones`, a folder's listing included.
pub(super) fn read(root: &mut Table<'_>, folder: &Path, files: &mut dyn Files) -> Vec<ZoneSpec> {
    let report = root.report;
    let value = root.value("zones");
    if let Some(value) = value.as_ref().filter(|value| value.is_table()) {
        return value.table("[zones]", &[]).map_or(Vec::new(), |table| read_table(table, folder, files));
    }
    let tables = super::tables(root, "zones", "name", &[]);
    if tables.is_empty() && !report.is_partial() {
        let message = "there is no zone, so every query would be refused";
        let help = "add [[zones]] with `name` and `file`, or [zones] with `directory = \"zones\"`";
        report.error_without_spot("no-zones", message.to_owned(), help.to_owned());
    }
    tables.into_iter().map(|table| read_one(table, folder)).collect()
}

fn read_one(mut table: Table<'_>, folder: &Path) -> ZoneSpec {
    let name = table.required("name", "\"shop.example\"", zone_name);
    let file = table.required("file", "\"zones/shop.example.zone\"", |value| path(value, folder));
    let ecs = table.or("ecs", true, Value::flag);
    table.finish();
    ZoneSpec { name, file, ecs, listed: false }
}

fn zone_name(value: &Value<'_>) -> Option<Name> {
    let text = value.word()?;
    match text.parse::<Name>() {
        Ok(name) if !name.is_wildcard() => Some(name),
        Ok(_) => value.bad(format!("{} is a wildcard, not a zone's apex", quoted(text)), None),
        Err(error) => value.bad(format!("{} is no domain name: {error}", quoted(text)), None),
    }
}

fn read_table(mut table: Table<'_>, folder: &Path, files: &mut dyn Files) -> Vec<ZoneSpec> {
    if table.has("name") || table.has("file") {
        let message = "a zone by name is one of a list; [zones] in single brackets has a `directory`";
        table.report.error_help("wrong-type", &table.span, message, Some("write `[[zones]]`".to_owned()));
        return Vec::new();
    }
    let directory = table.required("directory", "\"zones\"", |value| path(value, folder));
    let report = table.report;
    table.finish();
    directory.map_or(Vec::new(), |directory| list_directory(directory, files, report))
}

fn list_directory(directory: At<PathBuf>, files: &mut dyn Files, report: &Report<'_>) -> Vec<ZoneSpec> {
    let At { value: directory, span } = directory;
    let listing = match files.list(&directory) {
        Ok(listing) => listing,
        Err(error) => {
            let message = format!("cannot list the folder {}: {error}", directory.display());
            report.error_help("missing-file", &span, message, Some(super::path_help(&error).to_owned()));
            return Vec::new();
        }
    };
    let zone_files = listing.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "zone"));
    let mut zones = Vec::new();
    for file in zone_files {
        let name = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Name>().ok());
        if name.is_none() {
            let message = format!("the file {} is not named after a zone", file.display());
            report.error_help("bad-value", &span, message, Some("name it `APEX.zone`".to_owned()));
        }
        let name = name.map(|value| At { value, span: span.clone() });
        zones.push(ZoneSpec { name, file: Some(At { value: file, span: span.clone() }), ecs: true, listed: true });
    }
    if zones.is_empty() {
        let message = format!("the folder {} holds no `.zone` file", directory.display());
        report.error_help("no-zones", &span, message, Some("name each file `APEX.zone`".to_owned()));
    }
    zones
}

/// The zones of a configuration, by apex.
pub(super) struct Zones {
    by_apex: HashMap<Name, usize>,
    /// Some zone could not be read, so that a name outside all others may lie in it.
    incomplete: bool,
}

impl Zones {
    /// Indexes `specs`; reports zones that overlap and files that are not there.
    ///
    /// Two zones with one apex are an error: only one could answer. A zone inside another is how DNS
    /// is built (RFC 1034 §4.2), and the inner one answers; without a delegation in the outer one
    /// other servers of that zone would not know it, hence the warning.
    pub(super) fn new(specs: &[ZoneSpec], files: &mut dyn Files, report: &Report<'_>) -> Self {
        let mut by_apex: HashMap<Name, usize> = HashMap::new();
        for (index, spec) in specs.iter().enumerate() {
            check_file(spec, files, report);
            let Some(At { value: name, span }) = &spec.name else { continue };
            let first = *by_apex.entry(name.clone()).or_insert(index);
            if let (true, Some(other)) = (first != index, &specs[first].name) {
                let message =
                    format!("overlapping zones: `{name}` is a zone already, line {}", report.line(&other.span));
                let help = "one file per zone: merge them with `$INCLUDE`, or rename one".to_owned();
                report.error_help("overlapping-zones", span, message, Some(help));
            }
        }
        let zones = Self { by_apex, incomplete: specs.is_empty() || specs.iter().any(|spec| spec.name.is_none()) };
        for At { value: name, span } in specs.iter().filter_map(|spec| spec.name.as_ref()) {
            let outer = name.parent().and_then(|parent| zones.apex_above(&parent));
            if let Some((outer, _)) = outer {
                let message = format!("the zone `{name}` lies inside the zone `{outer}` and answers in its place");
                let help = format!("delegate it there: an NS record at `{name}` in the zone `{outer}`");
                report.warning("nested-zones", span, message, help);
            }
        }
        zones
    }

    /// The innermost zone that holds `name`.
    pub(super) fn holding(&self, name: &Name) -> Option<ZoneId> {
        self.apex_above(name).map(|(_, index)| ZoneId::at(index))
    }

    /// The zone of a service; reports a name outside every zone.
    pub(super) fn of_service(&self, name: &At<Name>, report: &Report<'_>) -> Option<ZoneId> {
        let found = self.holding(&name.value);
        if found.is_none() && !self.incomplete {
            let help = self.near(&name.value).map(|near| format!("did you mean `{near}`?"));
            let help = help.unwrap_or_else(|| "add the zone to [[zones]], or mend the name".to_owned());
            let message = format!("`{}` lies outside every zone", name.value);
            report.error_help("outside-zones", &name.span, message, Some(help));
        }
        found
    }

    /// The name with a zone's apex in place of what resembles it.
    fn near(&self, name: &Name) -> Option<String> {
        let apexes: Vec<String> = self.by_apex.keys().take(1000).map(Name::to_string).collect();
        let parents = std::iter::successors(Some(name.clone()), Name::parent).map(|parent| parent.to_string());
        parents.take(5).find_map(|parent| {
            let apex = closest(&parent, apexes.iter().map(String::as_str))?;
            Some(format!("{}{apex}", name.to_string().strip_suffix(&parent)?))
        })
    }

    fn apex_above(&self, name: &Name) -> Option<(Name, usize)> {
        std::iter::successors(Some(name.clone()), Name::parent)
            .find_map(|name| self.by_apex.get(&name).map(|&index| (name, index)))
    }
}

fn check_file(spec: &ZoneSpec, files: &mut dyn Files, report: &Report<'_>) {
    if let Some(file) = spec.file.as_ref().filter(|_| !spec.listed) {
        super::check_readable(file, "zone file", files, report);
    }
}

/// What zones mean; only to be asked for when nothing is wrong.
pub(super) fn resolve(specs: Vec<ZoneSpec>, files: &mut dyn Files) -> Vec<Zone> {
    let zone = |spec: ZoneSpec| {
        let ZoneSpec { name, file, ecs, .. } = spec;
        Some(Zone { name: name?.value, file: files.shared(&file?.value), ecs })
    };
    super::trimmed(specs.into_iter().filter_map(zone).collect())
}

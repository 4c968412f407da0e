//! The README's tables are whole: no setting and no error code is missing from them.

use attribute_gateway::error::Code;

const README: &str = include_str!("../../README.md");
const DEFAULTS: &str = include_str!("../../config/default.toml");

#[test]
fn every_error_code_is_in_the_readme() {
    let missing: Vec<_> =
        Code::ALL.iter().filter(|code| !README.contains(&format!("`{}`", code.as_str()))).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

#[test]
fn every_setting_is_in_the_readme() {
    let mut section = "";
    let mut missing = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            let path = format!("`{section}.{key}`");
            // The keys of these two sections stand in one row each.
            let in_one_row = section == "simulator"
                || (section == "genesys.custom" && README.contains(&format!("`.{key}`")));
            if !in_one_row && !README.contains(&path) {
                missing.push(path);
            }
        }
    }
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

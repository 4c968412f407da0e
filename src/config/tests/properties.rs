//! No content of a file or a variable makes loading panic.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_loading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let directory = TempDir::new().expect("a directory");
        let path = write(&directory, "gateway.toml", bytes);
        let _ = load(&ConfigSource { file: Some(path), ..ConfigSource::default() });
    }

    #[test]
    fn no_value_of_a_file_makes_loading_panic(
        index in any::<prop::sample::Index>(),
        value in "\\PC{0,20}|-?[0-9.eE_]{1,25}|\"[^\"\\\\]{0,20}\"|\\[[0-9,\"a]{0,9}\\]|\\{a=[0-9]\\}",
    ) {
        let keys: Vec<&keys::ConfigKey> = keys::all().collect();
        let key = keys[index.index(keys.len())];
        let (source, _directory) = file(&format!("[{}]\n{} = {value}", key.split().0, key.split().1));
        if let Ok(loaded) = load(&source) {
            let _ = loaded.render();
        }
    }

    #[test]
    fn no_variable_makes_loading_panic(
        index in any::<prop::sample::Index>(),
        name in "(GATEWAY__|GENESYS_)\\PC{0,20}|[A-Z_\\[\\]0-9]{0,20}",
        value in any::<String>(),
        number in "[0-9]{1,30}(ms|s|y| KiB| GiB|\\.[0-9]+s)?",
    ) {
        let keys: Vec<&keys::ConfigKey> = keys::all().collect();
        let variable = keys[index.index(keys.len())].variable();
        for value in [&value, &number] {
            for source in [env(&[(&variable, value)]), env(&[(&name, value)])] {
                if let Ok(loaded) = load(&source) {
                    let (again, _directory) = file(loaded.render());
                    let masked = loaded.render().contains(render::MASK);
                    prop_assert!(masked || load(&again).is_ok(), "{}", loaded.render());
                }
            }
        }
    }
}

//! Whether the kernel's rules are those that were rendered: the same tables, sets and chains with as many rules. Elements
//! of sets, which other programs fill too, and counters don't matter.

use std::collections::BTreeMap;

/// Tables with their chains, sets and maps, and how many rules each chain has.
pub type Shape = BTreeMap<(String, String), usize>;

/// The shape of `text`, which is what this module's parent rendered, or what `nft list` wrote: both have one rule a line.
pub fn of(text: &str) -> Shape {
    let mut shape = Shape::new();
    let (mut table, mut block) = (None, None);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &table) {
            ([] | ["#", ..], _) => {}
            (["table", family, name, "{"], _) => table = Some(format!("{family} {name}")),
            (["delete", "table", family, name], _) => {
                let gone = format!("{family} {name}");
                shape.retain(|(table, _), _| *table != gone);
            }
            (["delete", "chain", family, name, chain], _) => {
                shape.remove(&(format!("{family} {name}"), format!("chain {chain}")));
            }
            (["flush", "chain", family, name, chain], _) => {
                shape.insert((format!("{family} {name}"), format!("chain {chain}")), 0);
            }
            (["add", "rule", family, name, chain, ..], _) => {
                *shape.entry((format!("{family} {name}"), format!("chain {chain}"))).or_default() += 1;
            }
            ([kind @ ("chain" | "set" | "map"), name, "{"], Some(table)) => {
                let key = (table.clone(), format!("{kind} {name}"));
                shape.entry(key.clone()).or_default();
                block = Some(key);
            }
            (["}"], _) if block.is_some() => block = None,
            (["}"], _) => table = None,
            (["type", ..], _) => {}
            (_, _) => {
                if let Some(key) = block.as_ref().filter(|(_, name)| name.starts_with("chain ")) {
                    *shape.entry(key.clone()).or_default() += 1;
                }
            }
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_chain_or_rule_is_seen_and_elements_are_not() {
        let written = "table inet t {\n\tset s {\n\t\ttype ifname\n\t}\n\tchain a {\n\t\ttype filter hook input \
                       priority 0; policy accept;\n\t\taccept\n\t\tdrop\n\t}\n}\nadd rule inet t a drop\n";
        let listed = "table inet t {\n\tset s {\n\t\ttype ifname\n\t\telements = { \"a\" }\n\t}\n\n\tchain a {\n\t\t\
                      type filter hook input priority 0; policy accept;\n\t\taccept\n\t\tdrop\n\t\tdrop\n\t}\n}\n";
        assert_eq!(of(written), of(listed));
        assert_ne!(of(written), of(&listed.replacen("\t\tdrop\n", "", 1)));
        assert_ne!(of(written), of(&listed.replace("set s", "set z")));
        assert_eq!(of(&format!("{written}table inet t\ndelete table inet t\n")), Shape::new());
    }
}

//! What every page carries: style, scripts and the chart library, joined in a fixed order. No bundler, no Node.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub const TEMPLATE: &str = include_str!("../../../reports/page.html.j2");
pub const STYLE: &str = include_str!("../../../reports/style.css");
/// Apache ECharts 6.1.0, as released (reports/vendor/echarts-6.1.0/SOURCE).
pub const ECHARTS: &str = include_str!("../../../reports/vendor/echarts-6.1.0/echarts.min.js");
/// The notices that its licences ask for.
pub const NOTICES: [&str; 2] = [
    include_str!("../../../reports/vendor/echarts-6.1.0/NOTICE"),
    include_str!("../../../reports/vendor/echarts-6.1.0/LICENSE-d3"),
];

/// The page's own scripts, each a part of one function: a later one uses what an earlier one defines.
const SCRIPTS: [&str; 14] = [
    include_str!("../../../reports/app/dom.js"),
    include_str!("../../../reports/app/numbers.js"),
    include_str!("../../../reports/app/unpack.js"),
    include_str!("../../../reports/app/rates.js"),
    include_str!("../../../reports/app/state.js"),
    include_str!("../../../reports/app/charts.js"),
    include_str!("../../../reports/app/board.js"),
    include_str!("../../../reports/app/details.js"),
    include_str!("../../../reports/app/sliders.js"),
    include_str!("../../../reports/app/curves.js"),
    include_str!("../../../reports/app/scatter.js"),
    include_str!("../../../reports/app/learning.js"),
    include_str!("../../../reports/app/live.js"),
    include_str!("../../../reports/app/main.js"),
];

/// All scripts of the page as one strict function.
pub static SCRIPT: LazyLock<String> = LazyLock::new(|| format!("(() => {{\n\"use strict\";\n{}}})();\n", SCRIPTS.concat()));

/// The source expressions that admit the two scripts of the page; a server says them with every answer.
pub static ADMITTED: LazyLock<String> = LazyLock::new(|| [hash(ECHARTS), hash(&SCRIPT)].join(" "));

/// The source expression that admits a script by its hash (CSP Level 2, 4.2.5).
fn hash(script: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_the_released_file() {
        let sum: String = Sha256::digest(ECHARTS.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0");
        assert!(include_str!("../../../reports/vendor/echarts-6.1.0/SOURCE").contains(&sum));
        assert!(!ECHARTS.to_lowercase().contains("</script"), "it can stand in a page");
        assert!(!SCRIPT.to_lowercase().contains("</script") && !SCRIPT.contains("<!--"));
    }

    /// `echo -n "alert('Hello, world.');" | openssl dgst -sha256 -binary | base64`, the example of the specification.
    #[test]
    fn hashes_are_those_of_the_specification() {
        assert_eq!(hash("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }
}

//! The regions of Genesys Cloud and the hosts that belong to them.

use std::fmt;
use std::str::FromStr;

use crate::domain::closest_word;

/// AWS region, short name in newer hosts, and domain, as in `PureCloudRegionHosts` of the vendor's SDKs.
const REGIONS: [(&str, &str, &str); 18] = [
    ("us-east-1", "use1", "mypurecloud.com"),
    ("us-east-2", "use2", "use2.us-gov-pure.cloud"),
    ("us-west-2", "usw2", "usw2.pure.cloud"),
    ("ca-central-1", "cac1", "cac1.pure.cloud"),
    ("mx-central-1", "mxc1", "mxc1.pure.cloud"),
    ("sa-east-1", "sae1", "sae1.pure.cloud"),
    ("eu-west-1", "euw1", "mypurecloud.ie"),
    ("eu-west-2", "euw2", "euw2.pure.cloud"),
    ("eu-central-1", "euc1", "mypurecloud.de"),
    ("eu-central-2", "euc2", "euc2.pure.cloud"),
    ("eusc-de-east-1", "edee1", "edee1.eusc-pure.cloud"),
    ("me-central-1", "mec1", "mec1.pure.cloud"),
    ("ap-south-1", "aps1", "aps1.pure.cloud"),
    ("ap-southeast-1", "apse1", "apse1.pure.cloud"),
    ("ap-southeast-2", "apse2", "mypurecloud.com.au"),
    ("ap-northeast-1", "apne1", "mypurecloud.jp"),
    ("ap-northeast-2", "apne2", "apne2.pure.cloud"),
    ("ap-northeast-3", "apne3", "apne3.pure.cloud"),
];

/// One of the known regions.
///
/// Unknown domains are refused: a typing error could send the credentials to the owner of another
/// domain. For a region that is newer than this table, set `genesys.api_url` and `login_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    name: &'static str,
    short_name: &'static str,
    domain: &'static str,
}

impl Region {
    /// All known regions.
    pub fn all() -> impl Iterator<Item = Self> {
        REGIONS.iter().map(|&(name, short_name, domain)| Self { name, short_name, domain })
    }

    /// The AWS name, such as `eu-west-1`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The parent domain of all hosts, such as `mypurecloud.ie`.
    pub fn domain(self) -> &'static str {
        self.domain
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Region {
    type Err = String;

    /// Accepts the AWS name, the short name or the domain in the spellings of the vendor's tools, and
    /// the URL of any page of a known host.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim().trim_matches(['"', '\'', '`']).to_ascii_lowercase();
        let wanted = wanted.strip_prefix("purecloudregionhosts.").unwrap_or(&wanted);
        let name = wanted.replace(['_', ' '], "-");
        let domain = domain_of(wanted);
        let found = Self::all().find(|region| {
            region.name == name || region.domain == domain || region.short_name == name
        });
        found.ok_or_else(|| unknown(text, &name, domain))
    }
}

/// The domain in an address, without scheme, known host name, port and path.
fn domain_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match host.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => host,
    };
    let host = host.trim_end_matches('.');
    ["api.", "login.", "apps."].iter().find_map(|name| host.strip_prefix(name)).unwrap_or(host)
}

/// How many characters of an unknown region the message repeats.
const MAX_SHOWN: usize = 80;

fn unknown(text: &str, name: &str, domain: &str) -> String {
    let near = closest_word(name, Region::all().map(Region::name))
        .or_else(|| closest_word(domain, Region::all().map(Region::domain)));
    let suggestion = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let known: Vec<String> =
        Region::all().map(|region| format!("{region} ({})", region.domain)).collect();
    // The text before an `@` may be a password.
    let shown = text.rsplit_once('@').map_or(text.to_owned(), |(_, rest)| format!("…@{rest}"));
    let shown: String = shown.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    format!(
        "`{shown}` is not a region of Genesys Cloud; {suggestion}the regions are {}; for another one, \
         set genesys.api_url and genesys.login_url",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_found_by_name_and_domain() {
        assert_eq!(Region::all().count(), 18);
        let mut short_names = std::collections::BTreeSet::new();
        for region in Region::all() {
            assert_eq!(region.name().parse(), Ok(region));
            assert_eq!(region.name().replace('-', "_").to_uppercase().parse(), Ok(region));
            assert_eq!(region.domain().parse(), Ok(region));
            assert_eq!(region.short_name.parse(), Ok(region));
            assert!(short_names.insert(region.short_name));
            for host in ["api", "login", "apps"] {
                assert_eq!(format!("{host}.{}", region.domain()).parse(), Ok(region));
                assert_eq!(format!("https://{host}.{}", region.domain()).parse(), Ok(region));
            }
        }
    }

    #[test]
    fn the_spellings_of_the_vendors_tools_are_taken() {
        for (text, name) in [
            (" EU-West-1 ", "eu-west-1"),
            ("MyPureCloud.ie", "eu-west-1"),
            ("https://apps.mypurecloud.ie/directory/#/", "eu-west-1"),
            ("https://api.mypurecloud.ie", "eu-west-1"),
            ("HTTPS://API.MYPURECLOUD.IE:443/api/v2?x#y", "eu-west-1"),
            ("http://login.mypurecloud.ie/oauth/token", "eu-west-1"),
            ("login.mypurecloud.ie.", "eu-west-1"),
            ("\"mypurecloud.ie\"", "eu-west-1"),
            ("us_east_1", "us-east-1"),
            ("US_EAST_1", "us-east-1"),
            ("us east 1", "us-east-1"),
            ("PureCloudRegionHosts.eu_central_1", "eu-central-1"),
            ("use2", "us-east-2"),
            ("usw2", "us-west-2"),
            ("USE1", "us-east-1"),
            ("apne2", "ap-northeast-2"),
            ("edee1", "eusc-de-east-1"),
            ("usw2.pure.cloud", "us-west-2"),
        ] {
            assert_eq!(text.parse::<Region>().map(Region::name), Ok(name), "{text}");
        }
    }

    #[test]
    fn an_unknown_domain_is_refused_with_the_nearest_region() {
        for (text, near) in [
            ("mars-north-1", None),
            ("eu-wset-1", Some("eu-west-1")),
            ("eu-west1", Some("eu-west-1")),
            ("us-esat-2", Some("us-east-2")),
            ("mypurecloud.di", Some("mypurecloud.")),
            ("mypurcloud.ie", Some("mypurecloud.ie")),
            ("https://api.mypurcloud.ie", Some("mypurecloud.ie")),
            ("evil.mypurecloud.ie", None),
            ("mypurecloud.ie.evil.com", None),
            ("", None),
        ] {
            let Err(error) = text.parse::<Region>() else { panic!("{text} was accepted") };
            assert!(error.starts_with(&format!("`{text}` is not a region")), "{error}");
            match near {
                Some(near) => {
                    assert!(error.contains(&format!("did you mean `{near}")), "{text}: {error}");
                }
                None => assert!(!error.contains("did you mean"), "{text}: {error}"),
            }
            assert!(error.contains("eu-west-1 (mypurecloud.ie)"), "{error}");
            assert!(error.contains("ap-northeast-3"), "{error}");
        }
        for text in ["mypurecloud.ie@evil.com", "https://mypurecloud.ie:443@evil.com/"] {
            let Err(error) = text.parse::<Region>() else { panic!("{text} was accepted") };
            assert!(error.starts_with("`…@evil.com") && !error.contains("443"), "{error}");
        }
    }
}

//! The regions of Genesys Cloud and the hosts that belong to them.

use std::fmt;
use std::str::FromStr;

/// AWS region and domain, as in `PureCloudRegionHosts` of the vendor's SDKs.
const REGIONS: [(&str, &str); 18] = [
    ("us-east-1", "mypurecloud.com"),
    ("us-east-2", "use2.us-gov-pure.cloud"),
    ("us-west-2", "usw2.pure.cloud"),
    ("ca-central-1", "cac1.pure.cloud"),
    ("mx-central-1", "mxc1.pure.cloud"),
    ("sa-east-1", "sae1.pure.cloud"),
    ("eu-west-1", "mypurecloud.ie"),
    ("eu-west-2", "euw2.pure.cloud"),
    ("eu-central-1", "mypurecloud.de"),
    ("eu-central-2", "euc2.pure.cloud"),
    ("eusc-de-east-1", "edee1.eusc-pure.cloud"),
    ("me-central-1", "mec1.pure.cloud"),
    ("ap-south-1", "aps1.pure.cloud"),
    ("ap-southeast-1", "apse1.pure.cloud"),
    ("ap-southeast-2", "mypurecloud.com.au"),
    ("ap-northeast-1", "mypurecloud.jp"),
    ("ap-northeast-2", "apne2.pure.cloud"),
    ("ap-northeast-3", "apne3.pure.cloud"),
];

/// One of the known regions.
///
/// Unknown domains are refused, since a typing error would send the credentials to whoever owns
/// the domain; a region newer than this table is reached with `genesys.api_url` and `login_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    name: &'static str,
    domain: &'static str,
}

impl Region {
    /// All known regions.
    pub fn all() -> impl Iterator<Item = Self> {
        REGIONS.iter().map(|&(name, domain)| Self { name, domain })
    }

    /// The AWS name, such as `eu-west-1`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The domain below which all hosts are, such as `mypurecloud.ie`.
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

    /// Takes the AWS name, the domain, or the address of the API or a login page below it.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim().to_ascii_lowercase();
        let host = wanted.strip_prefix("https://").unwrap_or(&wanted);
        let host = host.split('/').next().unwrap_or_default();
        let prefixes = ["api.", "login.", "apps."];
        let domain = prefixes.iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(host);
        let found = Self::all().find(|region| region.name == wanted || region.domain == domain);
        found.ok_or_else(|| {
            let known: Vec<String> =
                Self::all().map(|region| format!("{region} ({})", region.domain)).collect();
            format!(
                "is no region of Genesys Cloud; known are {}; for another one set genesys.api_url \
                 and genesys.login_url",
                known.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_found_by_name_and_domain() {
        assert_eq!(Region::all().count(), 18);
        for region in Region::all() {
            assert_eq!(region.name().parse(), Ok(region));
            assert_eq!(region.domain().parse(), Ok(region));
            for host in ["api", "login", "apps"] {
                assert_eq!(format!("https://{host}.{}", region.domain()).parse(), Ok(region));
            }
        }
    }

    #[test]
    fn spelling_is_forgiven_but_not_another_domain() {
        for text in [" EU-West-1 ", "MyPureCloud.ie", "https://apps.mypurecloud.ie/directory/#/"] {
            assert_eq!(text.parse::<Region>().map(Region::name), Ok("eu-west-1"), "{text}");
        }
        for text in
            ["mars-north-1", "mypurecloud.eu", "evil.mypurecloud.ie", "mypurecloud.ie.evil.com"]
        {
            let error = text.parse::<Region>().expect_err("refused");
            assert!(error.contains("eu-west-1 (mypurecloud.ie)"), "{error}");
            assert!(error.contains("ap-northeast-3"), "{error}");
        }
    }
}

//! What keeps visits apart: the user name and the password by which a program asks, whatever they are. Programs that know Tor vary either.
//! One user name says more: who asks by [`DIRECT`] asks to come without mixes.

/// The isolation of those who give neither.
pub(crate) const ANONYMOUS: &str = "";
/// The longest user name and the longest password (RFC 1929).
pub(crate) const MAX_BYTES: usize = 255;
/// Who asks by this user name wants a direct connection, where it is offered: this computer and the host see each other's address. A name that
/// nobody has by chance, and that fits SOCKS and HTTP alike. The password, which SOCKS wants, keeps such visits apart.
pub(crate) const DIRECT: &str = "fogbank-direct";

/// As whom a program asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asker {
    /// No other pair of user name and password has the same.
    pub(crate) isolation: String,
    /// Whether it asks to come without mixes.
    pub(crate) direct: bool,
}

impl Asker {
    /// Who gives this user name and password.
    pub(crate) fn new(user: &str, password: &str) -> Self {
        if user.is_empty() && password.is_empty() {
            return Self { isolation: ANONYMOUS.to_owned(), direct: false };
        }
        Self { isolation: format!("{}:{user}{password}", user.len()), direct: user == DIRECT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_apart() {
        let pairs = [
            ("", ""),
            ("a", ""),
            ("", "a"),
            ("a", "b"),
            ("ab", ""),
            ("", "ab"),
            ("a", "c"),
            ("1:a", "b"),
            ("a:", "b"),
            ("a", ":b"),
        ];
        for (n, (user, password)) in pairs.iter().enumerate() {
            for (other_user, other_password) in &pairs[n + 1..] {
                let [one, other] = [Asker::new(user, password), Asker::new(other_user, other_password)];
                assert_ne!(one.isolation, other.isolation, "{user} {password} | {other_user} {other_password}");
            }
        }
        assert_eq!(Asker::new("", ""), Asker { isolation: ANONYMOUS.to_owned(), direct: false });
    }

    #[test]
    fn one_whole_user_name_asks_to_come_directly() {
        assert!(Asker::new(DIRECT, "").direct && Asker::new(DIRECT, "x").direct);
        for user in ["", "direct", "fogbank-direct ", "fogbank-direct:", "Fogbank-Direct", "xfogbank-direct"] {
            assert!(!Asker::new(user, DIRECT).direct, "{user}");
        }
    }
}

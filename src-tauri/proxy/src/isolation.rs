//! What keeps visits apart: the user name and the password by which a program asks, whatever they are. Programs that know Tor vary either.

/// The isolation of those who give neither.
pub(crate) const ANONYMOUS: &str = "";
/// The longest user name and the longest password (RFC 1929).
pub(crate) const MAX_BYTES: usize = 255;

/// The isolation of this user name and password: no other pair has the same.
pub(crate) fn of(user: &str, password: &str) -> String {
    if user.is_empty() && password.is_empty() {
        return ANONYMOUS.to_owned();
    }
    format!("{}:{user}{password}", user.len())
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
                assert_ne!(
                    of(user, password),
                    of(other_user, other_password),
                    "{user} {password} | {other_user} {other_password}"
                );
            }
        }
        assert_eq!(of("", ""), ANONYMOUS);
    }
}

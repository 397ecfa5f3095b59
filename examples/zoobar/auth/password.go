package auth

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strconv"
)

const (
	// MaxPasswordBytes is refused before anything is computed: the cost of a
	// hash must not be the visitor's choice (CVE-2013-1443).
	MaxPasswordBytes = 4096

	// DefaultIterations of PBKDF2 for new passwords. The number is stored with
	// each of them, so that it may be raised and old ones still verify.
	DefaultIterations = 100_000

	// MinIterations is the fewest that can be asked for: those of the course.
	MinIterations = 1000

	saltBytes = 16
	hashBytes = 32
)

// ParseIterations reads a number of iterations; "" is the default.
func ParseIterations(s string) (int, error) {
	if s == "" {
		return DefaultIterations, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < MinIterations || n > 100*DefaultIterations {
		return 0, fmt.Errorf("HASH_ITERATIONS %q: not a number from %d to %d", s, MinIterations, 100*DefaultIterations)
	}
	return n, nil
}

// hashPassword is PBKDF2 with HMAC-SHA1 (RFC 8018), as 64 hexadecimal digits.
func hashPassword(password string, salt []byte, iterations int) (string, error) {
	key, err := pbkdf2.Key(sha1.New, password, salt, iterations, hashBytes)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hex.EncodeToString(key), nil
}

// same compares two secrets in a time that depends on their lengths only.
func same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

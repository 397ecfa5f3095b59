package auth

import "testing"

// The vectors are those of Python's hashlib.pbkdf2_hmac with 1000 iterations.
func TestHashPassword(t *testing.T) {
	for _, tt := range []struct{ password, salt, want string }{
		{"supersecretpassword", "\x00\x01\x02\x03\x04\x05\x06\x07", "62ee366497c5af3b9f58fe9c7d05759f5eb92ac129fc50c1d96a33d394f09ef4"},
		{"pässwörd", "saltsalt", "d3fe89d9532ff9238b20045dd3ff7c5b4d094054b1e7d0014bbdd362255738c7"},
		{"x", "\x80\xff", "3dcbfdb983245b4334a46f9fa301142f34062068ff7038789b57e8e86499b45c"},
	} {
		if got, err := hashPassword(tt.password, []byte(tt.salt), 1000); got != tt.want || err != nil {
			t.Errorf("hashPassword(%q, %q, 1000) = %s, %v, want %s", tt.password, tt.salt, got, err, tt.want)
		}
	}
}

func TestParseIterations(t *testing.T) {
	for s, want := range map[string]int{"": DefaultIterations, "1000": 1000, "999": 0, "x": 0, "-1": 0, "100000000000": 0, "1e5": 0} {
		if got, err := ParseIterations(s); got != want || (err == nil) != (want != 0) {
			t.Errorf("ParseIterations(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
}

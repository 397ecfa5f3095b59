package manager

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
)

// Tenant is somebody who has an instance of his own.
type Tenant struct {
	Name string `json:"name"` // the principal

	// Password is the hash of the password, SHA-256 in hexadecimal. That is enough for a
	// password which is drawn at random: there is nothing to guess.
	Password string `json:"password_sha256"`

	// Directories of the host that the tenant may name. The first is the tenant's own:
	// relative paths start there, and sessions have their directories in it.
	Directories []string `json:"directories"`

	hash [sha256.Size]byte
}

// Tenants are all of them.
type Tenants []*Tenant

var tenantName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,31}$`)

// ParseTenants reads the file of tenants.
func ParseTenants(text []byte) (Tenants, error) {
	var file struct {
		Tenants Tenants `json:"tenants"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("tenants: %w", err)
	}
	for i, t := range file.Tenants {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("tenant %d, %.40q: %w", i+1, t.Name, err)
		}
		for _, other := range file.Tenants[:i] {
			if err := t.apart(other); err != nil {
				return nil, fmt.Errorf("tenants %q and %q: %w", other.Name, t.Name, err)
			}
		}
	}
	return file.Tenants, nil
}

func (t *Tenant) check() error {
	if !tenantName.MatchString(t.Name) {
		return fmt.Errorf("the name is not small letters, digits, _, . and -")
	}
	hash, err := hex.DecodeString(t.Password)
	if err != nil || len(hash) != len(t.hash) {
		return fmt.Errorf("password_sha256 is not %d hexadecimal digits", 2*len(t.hash))
	}
	copy(t.hash[:], hash)
	if len(t.Directories) == 0 {
		return fmt.Errorf("no directories: the first is the tenant's own")
	}
	for _, dir := range t.Directories {
		if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" || !plain(dir) {
			return fmt.Errorf("directory %q is not absolute and clean, or has an element of ~ or $", dir)
		}
	}
	return nil
}

// apart tells whether each of two tenants is alone with what is its own.
func (t *Tenant) apart(other *Tenant) error {
	if t.Name == other.Name {
		return fmt.Errorf("the same name")
	}
	if t.hash == other.hash {
		return fmt.Errorf("the same password")
	}
	for _, pair := range []struct{ a, b *Tenant }{{t, other}, {other, t}} {
		for _, dir := range pair.b.Directories {
			_, in := beneath(dir, pair.a.Directories[0])
			_, over := beneath(pair.a.Directories[0], dir)
			if in || over {
				return fmt.Errorf("%q is not %s's alone: the other has %q", pair.a.Directories[0], pair.a.Name, dir)
			}
		}
	}
	return nil
}

// who finds the tenant with this password, nil if there is none. How long it takes
// tells nothing about which of them it is, or how much of a password is right.
func (all Tenants) who(password []byte) *Tenant {
	hash, found := sha256.Sum256(password), -1
	for i, t := range all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], t.hash[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return all[found]
}

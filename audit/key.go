package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Where the key of a log is: beside it, the seed as 64 digits of hex that nobody
// else may read, and the public half likewise for whoever copies the log.
func keyPath(log string) string { return strings.TrimSuffix(log, ".jsonl") + ".key" }

// PublicKeyPath is where the public key of the log at path is.
func PublicKeyPath(log string) string { return strings.TrimSuffix(log, ".jsonl") + ".pub" }

// Key is the public key of a log (Ed25519).
type Key [ed25519.PublicKeySize]byte

func (k Key) String() string { return hex.EncodeToString(k[:]) }

// MarshalText is String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// ParseKey is the inverse of String.
func ParseKey(s string) (k Key, err error) {
	if !isHash(s) { // of the same size
		return k, errors.New("not a public key: 64 digits of hex, in small letters, are one")
	}
	hex.Decode(k[:], []byte(s))
	return k, nil
}

// ReadKey reads a public key from a file.
func ReadKey(path string) (Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return Key{}, err
	}
	k, err := ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// errNoKey says that there is none beside the log.
var errNoKey = errors.New("no key")

// readSigner reads the private key of the log at path, or tells errNoKey.
func readSigner(log string) (ed25519.PrivateKey, error) {
	path := keyPath(log)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoKey
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key %q: mode is %v: not a file of its owner's alone", path, info.Mode())
	}
	text := make([]byte, 2*ed25519.SeedSize+2)
	n, err := io.ReadFull(f, text)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !isHash(string(bytes.TrimSuffix(text[:n], []byte("\n")))) {
		return nil, fmt.Errorf("key %q: not 64 digits of hex", path)
	}
	seed := make([]byte, ed25519.SeedSize)
	hex.Decode(seed, text[:2*ed25519.SeedSize])
	return ed25519.NewKeyFromSeed(seed), nil
}

// makeSigner makes a key for the log at path. The caller holds the log's lock.
func makeSigner(log string) (ed25519.PrivateKey, error) {
	_, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return signer, writeWhole(keyPath(log), hex.EncodeToString(signer.Seed())+"\n", 0o600)
}

// keepPublic sees to it that the public half is beside the log.
func keepPublic(log string, k Key) error {
	path, text := PublicKeyPath(log), k.String()+"\n"
	if b, err := os.ReadFile(path); err == nil && string(b) == text {
		return nil
	}
	return writeWhole(path, text, 0o644)
}

// writeWhole makes a file that is there with all its text, or not.
func writeWhole(path, text string, mode os.FileMode) error {
	part := path + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(part, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func publicOf(signer ed25519.PrivateKey) Key { return Key(signer.Public().(ed25519.PublicKey)) }

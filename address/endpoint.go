// Package address says which machines can be named, and where an address leads.
//
// An [Endpoint] is a host and a port, written in one way only: two texts that
// mean the same machine to some resolver and different ones to another ("127.1",
// "0x7f.0.0.1", "HOST.", a NUL in the middle) are not endpoints. [ClassOf] tells
// a machine of the Internet from one that only this host can reach.
//
// Trusted: yes. What it takes for public is reached by whoever has a grant of
// a name.
package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a name: RFC 1035, 2.3.4.
const (
	MaxName  = 253
	maxLabel = 63
)

// Endpoint is a TCP port of a machine: a name or an address.
type Endpoint struct {
	Name string     // "" if Addr is set
	Addr netip.Addr // invalid if Name is set
	Port uint16     // not 0
}

// String is the text that [ParseEndpoint] reads.
func (e Endpoint) String() string {
	if e.Name == "" {
		return netip.AddrPortFrom(e.Addr, e.Port).String()
	}
	return e.Name + ":" + strconv.Itoa(int(e.Port))
}

// Host is the name or the address.
func (e Endpoint) Host() string {
	if e.Name == "" {
		return e.Addr.String()
	}
	return e.Name
}

// ParseEndpoint reads "host:port", the host an IPv6 address in brackets, an
// IPv4 address or a name, each as [Endpoint.String] writes it.
func ParseEndpoint(s string) (Endpoint, error) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 {
		return Endpoint{}, errors.New("no port")
	}
	host, digits := s[:at], s[at+1:]
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != digits {
		return Endpoint{}, errors.New("a port is a number from 1 to 65535")
	}
	e := Endpoint{Port: uint16(port)}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok || !strings.Contains(host, ":") {
			return Endpoint{}, errors.New("brackets are for an IPv6 address")
		}
	} else if strings.Contains(host, ":") {
		return Endpoint{}, errors.New("an IPv6 address stands in brackets")
	}
	e.Name, e.Addr, err = parseHost(host)
	return e, err
}

// parseHost reads an address or a name in its one spelling.
func parseHost(s string) (name string, addr netip.Addr, err error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		switch {
		case addr.Zone() != "":
			return "", netip.Addr{}, errors.New("a zone names an interface of this machine")
		case addr.Is4In6():
			return "", netip.Addr{}, fmt.Errorf("write %s", addr.Unmap())
		case addr.String() != s:
			return "", netip.Addr{}, fmt.Errorf("write %s", addr)
		}
		return "", addr, nil
	}
	if err := CheckName(s); err != nil {
		return "", netip.Addr{}, err
	}
	return s, netip.Addr{}, nil
}

// CheckName accepts the names of hosts: at least two labels of small letters,
// digits and hyphens, the last of which does not start with a digit, so that no
// reader takes it for a number. A name of one label means what the resolver's
// search list makes of it, and localhost whatever it is asked on.
func CheckName(s string) error {
	if len(s) > MaxName {
		return fmt.Errorf("more than %d bytes", MaxName)
	}
	if strings.HasSuffix(s, ".") {
		return errors.New("write it without the dot at the end")
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if err := checkLabel(l); err != nil {
			return err
		}
	}
	switch last := labels[len(labels)-1]; {
	case len(labels) < 2:
		return errors.New("a name of one label means something else on each host")
	case last[0] >= '0' && last[0] <= '9':
		return errors.New("a name whose last label starts with a digit can be read as a number")
	case last == "localhost":
		return errors.New("write the address instead of localhost")
	}
	return nil
}

func checkLabel(l string) error {
	if l == "" || len(l) > maxLabel {
		return fmt.Errorf("a label has 1 to %d bytes", maxLabel)
	}
	if l[0] == '-' || l[len(l)-1] == '-' {
		return errors.New("a label neither starts nor ends with a hyphen")
	}
	for _, c := range []byte(l) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return errors.New("a name has small letters, digits, hyphens and dots; others are written in their xn-- form")
		}
	}
	return nil
}

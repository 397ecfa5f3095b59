package address

import (
	"net/netip"
	"strings"
	"testing"
)

func TestClassOf(t *testing.T) {
	for class, addrs := range map[Class]string{
		Public: `1.1.1.1 9.9.9.9 11.0.0.1 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 169.255.0.1
			172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
			2606:4700:4700::1111 2620:fe::fe 2a00:1450:4001:81b::200e ::ffff:9.9.9.9 64:ff9b::909:909 2002:909:909::1
			2a00::5efe:909:909`,
		Private: `10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 100.64.0.0 100.127.255.255
			192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7
			fc00::1 fdff::1 fec0::1 2001:db8::1 3fff::1 3fff:fff:ffff::1 5f00::1 2001:0:909:909::f6f6:f6f6 2001:20::1 2001:1ff::1
			64:ff9b:1::a00:1 64:ff9b::a00:1 2002:a00:1::1 2002:c0a8:101:: ::ffff:10.0.0.1 2a00::200:5efe:a00:1`,
		LinkLocal: `169.254.0.1 169.254.255.255 fe80::1 febf::1 ::ffff:169.254.1.1 64:ff9b::a9fe:101 fe80::5efe:a00:1`,
		Loopback: `127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2002:7fff:ffff::1
			2001:0:909:909::80ff:fffe 2a00::5efe:7f00:1`,
		Metadata: `169.254.169.254 169.254.169.253 169.254.170.2 169.254.170.23 168.63.129.16 100.100.100.200 192.0.0.192
			fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::`,
		Reserved: `2001::1 2001:0:7f00:1:: 0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::2 ::127.0.0.1 ::9.9.9.9 100::1 ff02::1 ff0e::1
			1::1 4000::1 8000::1 e000::1 fe00::1 ::ffff:0.0.0.0 ::ffff:255.255.255.255 64:ff9b::e000:1 2002:ffff:ffff:: ::ffff:0:9.9.9.9 fe80::1%eth0 2620:fe::fe%lo`,
	} {
		for _, text := range strings.Fields(addrs) {
			if got := ClassOf(netip.MustParseAddr(text)); got != class {
				t.Errorf("ClassOf(%s) = %s, want %s", text, got, class)
			}
		}
	}
	if got := ClassOf(netip.Addr{}); got != Reserved {
		t.Errorf("ClassOf of nothing = %s", got)
	}
}

// FuzzClassOf holds ClassOf against what the standard library knows.
func FuzzClassOf(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "10.0.0.1", "::1", "fe80::1", "::ffff:127.0.0.1", "9.9.9.9", "64:ff9b::a00:1"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || ClassOf(a) != Public {
			return
		}
		if u := a.Unmap(); !u.IsGlobalUnicast() || u.IsPrivate() || u.IsLoopback() || u.IsLinkLocalUnicast() {
			t.Errorf("ClassOf(%s) = public", a)
		}
		if ClassOf(a.Unmap()) != Public {
			t.Errorf("%s is public, and not when it is unmapped", a)
		}
		if v4 := a.Unmap(); v4.Is4() { // in whatever an address of IPv6 it is written
			four := v4.As4()
			nat := [16]byte{0, 0x64, 0xff, 0x9b, 12: four[0], 13: four[1], 14: four[2], 15: four[3]}
			if got := ClassOf(netip.AddrFrom16(nat)); got != Public {
				t.Errorf("%s is public, %s is %s", v4, netip.AddrFrom16(nat), got)
			}
		}
	})
}

func TestParseEndpoint(t *testing.T) {
	for _, s := range []string{
		"example.com:443", "a.b.c.example:1", "xn--bcher-kva.example:65535", "1password.com:443", "9.9.9.9:53", "[2620:fe::fe]:53", "[::1]:80",
		"a-b.c-d:1", strings.Repeat("a", 63) + ".example:80",
	} {
		if e, err := ParseEndpoint(s); err != nil || e.String() != s {
			t.Errorf("ParseEndpoint(%q) = %q, %v", s, e, err)
		}
	}
	for _, s := range []string{
		"", ":", ":80", "example.com", "example.com:", "example.com:0", "example.com:00080", "example.com:+80", "example.com:65536", "example.com:http",
		"Example.com:80", "example.com.:80", ".example.com:80", "a..b:80", "-a.b:80", "a-.b:80", "a_b.c:80", "a b.c:80", "example.com\x00:80", "example.com\x00.evil:80",
		"exämple.com:80", "\u212a.example:80", "*.example.com:80", "localhost:80", "a.localhost:80", "intranet:80",
		"127.1:80", "0x7f.1:80", "2130706433:80", "0177.0.0.1:80", "1.2.3:80", "1.2.3.4.5:80", "1.2.3.256:80", "a.0x7f:80", "a.1:80",
		"::1:80", "[::1]80", "[::1:80", "::1]:80", "[9.9.9.9]:80", "[example.com]:80", "[fe80::1%eth0]:80", "[::ffff:9.9.9.9]:80", "[0::1]:80", "[2620:FE::FE]:80", "[]:80",
		"user@example.com:80", "http://example.com:80", "example.com:80/", "example.com/:80", "example.com%00:80",
		strings.Repeat("a", 64) + ".example:80", strings.Repeat("a.", 126) + "example:80",
	} {
		if e, err := ParseEndpoint(s); err == nil {
			t.Errorf("ParseEndpoint(%q) = %q, want an error", s, e)
		}
	}
}

// FuzzParseEndpoint: a text that is accepted is the only one that is read so, and
// means nothing else to what reads names and addresses otherwise.
func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"example.com:443", "9.9.9.9:53", "[2620:fe::fe]:53", "127.1:80", "a.b\x00:80", "[fe80::1%lo]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			return
		}
		if e.String() != s || e.Port == 0 || (e.Name == "") != e.Addr.IsValid() {
			t.Errorf("ParseEndpoint(%q) = %+v", s, e)
		}
		for _, c := range []byte(s) {
			if c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' || strings.IndexByte("%_@/*\\", c) >= 0 {
				t.Errorf("ParseEndpoint(%q) accepts %q", s, c)
			}
		}
		if e.Name == "" {
			return
		}
		if _, err := netip.ParseAddr(e.Name); err == nil || len(e.Name) > MaxName || !strings.Contains(e.Name, ".") {
			t.Errorf("ParseEndpoint(%q) has the name %q", s, e.Name)
		}
	})
}

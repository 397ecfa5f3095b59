package address

import "net/netip"

// Class says where an address leads.
type Class string

// The classes, from what anybody may be sent to, to what nobody may.
const (
	Public    Class = "public"     // a machine of the Internet
	Private   Class = "private"    // of a site, or set aside for documents and measurements
	LinkLocal Class = "link-local" // on the same wire
	Loopback  Class = "loopback"   // this machine
	Metadata  Class = "metadata"   // what gives a cloud's machines their credentials
	Reserved  Class = "reserved"   // no one machine: unspecified, multicast, broadcast, unassigned
)

// order ranks the classes, for addresses that have one within the other.
var order = map[Class]int{Public: 0, Private: 1, LinkLocal: 2, Loopback: 3, Metadata: 4, Reserved: 5}

// block is a range of addresses and what it is.
type block struct {
	prefix netip.Prefix
	class  Class
}

// blocks are the ranges that are not public; the first that fits decides.
// Sources: the registries of IANA for special-purpose addresses (RFC 6890 and
// its updates), and what the clouds document of their metadata services.
var blocks = parseBlocks(
	Metadata, "169.254.169.0/24", "169.254.170.0/24", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32",
	Metadata, "fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128",
	Loopback, "127.0.0.0/8", "::1/128",
	LinkLocal, "169.254.0.0/16", "fe80::/10",
	Private, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10",
	Private, "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	Private, "64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
	Reserved, "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4",
	Reserved, "100::/64", "ff00::/8",
)

func parseBlocks(words ...any) []block {
	var all []block
	var class Class
	for _, w := range words {
		switch w := w.(type) {
		case Class:
			class = w
		case string:
			all = append(all, block{netip.MustParsePrefix(w), class})
		}
	}
	return all
}

// Ways of writing an IPv4 address into one of IPv6, and where in it that
// stands. What is sent there may come out at the address within.
var embeddings = []struct {
	prefix  netip.Prefix
	at      int
	flipped bool // written with every bit turned
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12, false}, // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2, false},     // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), 4, false},     // Teredo, RFC 4380: the server
	{netip.MustParsePrefix("2001::/32"), 12, true},     // … and the client
}

// global is all of IPv6 that has been given to machines, but for NAT64.
var (
	global = netip.MustParsePrefix("2000::/3")
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
)

// ClassOf depends on the address alone. An IPv6 address that has an IPv4 address
// in it is of the class of the worse. An address with a zone names an interface
// of this machine and is reserved, as is no address.
func ClassOf(a netip.Addr) Class {
	if !a.IsValid() || a.Zone() != "" {
		return Reserved
	}
	a = a.Unmap()
	class := Public
	if a.Is6() && !global.Contains(a) && !nat64.Contains(a) {
		class = Reserved
	}
	for _, b := range blocks {
		if b.prefix.Contains(a) {
			class = b.class
			break
		}
	}
	if !a.Is6() {
		return class
	}
	bytes := a.As16()
	for _, e := range embeddings {
		if e.prefix.Contains(a) {
			class = worse(class, within(bytes[e.at:], e.flipped))
		}
	}
	// ISATAP, RFC 5214: an interface's number under any prefix.
	if bytes[8]&^2 == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe {
		class = worse(class, within(bytes[12:], false))
	}
	return class
}

func within(b []byte, flipped bool) Class {
	four := [4]byte(b[:4])
	if flipped {
		for i := range four {
			four[i] ^= 0xff
		}
	}
	return ClassOf(netip.AddrFrom4(four))
}

func worse(a, b Class) Class {
	if order[b] > order[a] {
		return b
	}
	return a
}

package egress

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"cofferdam/address"
	"cofferdam/wire"
)

// Bounds of an answer.
const (
	maxChain   = 8  // aliases in a row
	maxRecords = 64 // that are looked at
)

// ErrNoAddress says that the name is not there, or has no address.
var ErrNoAddress = errors.New("no address")

// Resolver asks DNS, over TCP: nobody beside the way can answer for the server,
// and no answer is cut short (RFC 7766). It keeps nothing; the monitor does.
type Resolver struct {
	Servers []netip.AddrPort
	Dial    func(context.Context, netip.AddrPort) (net.Conn, error)
}

// Lookup returns the addresses of name, those of IPv4 first. It asks the servers
// one after the other until one knows: [ErrNoAddress] ends that, too.
func (r *Resolver) Lookup(ctx context.Context, name string) (wire.Answer, error) {
	if err := address.CheckName(name); err != nil {
		return wire.Answer{}, fmt.Errorf("%w: %v", ErrNoAddress, err)
	}
	err := errors.New("no resolver")
	for i, server := range r.Servers {
		each := ctx
		if left := len(r.Servers) - i; left > 1 {
			end, _ := ctx.Deadline()
			var cancel context.CancelFunc
			each, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
			defer cancel()
		}
		var a wire.Answer
		if a, err = r.ask(each, server, name); err == nil || errors.Is(err, ErrNoAddress) {
			return a, err
		}
	}
	return wire.Answer{}, err
}

// ask asks one server for both kinds of addresses.
func (r *Resolver) ask(ctx context.Context, server netip.AddrPort, name string) (wire.Answer, error) {
	c, err := r.Dial(ctx, server)
	if err != nil {
		return wire.Answer{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	var all wire.Answer
	var failed error
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		a, err := exchange(c, name, kind)
		switch {
		case errors.Is(err, ErrNoAddress):
		case err != nil && len(all.Addrs) > 0:
			return all, nil // one kind is enough
		case err != nil:
			failed = err
		default:
			if len(all.Addrs) == 0 || a.TTL < all.TTL {
				all.TTL = a.TTL
			}
			all.Addrs = append(all.Addrs, a.Addrs...)
		}
	}
	switch {
	case len(all.Addrs) > 0:
		return all, nil
	case failed != nil:
		return wire.Answer{}, failed
	}
	return wire.Answer{}, ErrNoAddress
}

// exchange sends one question and reads one answer.
func exchange(c net.Conn, name string, kind dnsmessage.Type) (wire.Answer, error) {
	var random [2]byte
	rand.Read(random[:])
	id := binary.BigEndian.Uint16(random[:])
	q, err := question(name, kind)
	if err != nil {
		return wire.Answer{}, err
	}
	b := dnsmessage.NewBuilder(make([]byte, 2, 512), dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
		return wire.Answer{}, err
	}
	msg, err := b.Finish()
	if err != nil {
		return wire.Answer{}, err
	}
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	if _, err := c.Write(msg); err != nil {
		return wire.Answer{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return wire.Answer{}, err
	}
	reply := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, reply); err != nil {
		return wire.Answer{}, err
	}
	return parseReply(reply, id, q)
}

func question(name string, kind dnsmessage.Type) (dnsmessage.Question, error) {
	n, err := dnsmessage.NewName(name + ".")
	return dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}, err
}

// parseReply takes from a reply the addresses that the chain of aliases from the
// question's name leads to. Whatever else is in it is of no account.
func parseReply(msg []byte, id uint16, q dnsmessage.Question) (wire.Answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	switch {
	case err != nil:
		return wire.Answer{}, err
	case !h.Response || h.ID != id || h.OpCode != 0:
		return wire.Answer{}, errors.New("not the answer to what was asked")
	case h.Truncated:
		return wire.Answer{}, errors.New("an answer that was cut short")
	}
	asked, err := p.AllQuestions()
	if err != nil {
		return wire.Answer{}, err
	}
	if len(asked) != 1 || asked[0].Type != q.Type || asked[0].Class != q.Class || key(asked[0].Name) != key(q.Name) {
		return wire.Answer{}, errors.New("not the answer to what was asked")
	}
	switch h.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return wire.Answer{}, ErrNoAddress
	default:
		return wire.Answer{}, fmt.Errorf("the resolver says %v", h.RCode)
	}
	return answerOf(&p, q)
}

// record is an address or an alias.
type record struct {
	addr  netip.Addr
	alias string
	ttl   uint32
}

func answerOf(p *dnsmessage.Parser, q dnsmessage.Question) (wire.Answer, error) {
	at := make(map[string][]record)
	for range maxRecords {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return wire.Answer{}, err
		}
		r := record{ttl: h.TTL}
		switch {
		case h.Class != dnsmessage.ClassINET:
			err = p.SkipAnswer()
		case h.Type == dnsmessage.TypeCNAME:
			var c dnsmessage.CNAMEResource
			c, err = p.CNAMEResource()
			r.alias = key(c.CNAME)
		case h.Type == q.Type && h.Type == dnsmessage.TypeA:
			var a dnsmessage.AResource
			a, err = p.AResource()
			r.addr = netip.AddrFrom4(a.A)
		case h.Type == q.Type && h.Type == dnsmessage.TypeAAAA:
			var a dnsmessage.AAAAResource
			a, err = p.AAAAResource()
			r.addr = netip.AddrFrom16(a.AAAA)
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return wire.Answer{}, err
		}
		if r.alias != "" || r.addr.IsValid() {
			at[key(h.Name)] = append(at[key(h.Name)], r)
		}
	}
	const forever = 1<<31 - 1
	ttl, name := uint32(forever), key(q.Name)
	for range maxChain + 1 {
		var addrs []netip.Addr
		next := ""
		for _, r := range at[name] {
			if r.ttl > forever {
				r.ttl = 0 // RFC 2181, 8
			}
			ttl = min(ttl, r.ttl)
			if r.alias != "" {
				next = r.alias
			} else if len(addrs) < wire.MaxAddresses/2 {
				addrs = append(addrs, r.addr)
			}
		}
		if len(addrs) > 0 {
			return wire.Answer{Addrs: addrs, TTL: time.Duration(ttl) * time.Second}, nil
		}
		if next == "" {
			return wire.Answer{}, ErrNoAddress
		}
		name = next
	}
	return wire.Answer{}, fmt.Errorf("more than %d aliases in a row", maxChain)
}

// key is a name for comparison: DNS does not tell capitals from small letters.
func key(n dnsmessage.Name) string { return lowered(strings.TrimSuffix(n.String(), ".")) }

package executortest

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketCases are about the code behind sockets that a program with declared
// connections never needs: most of what was found in kernels over the years.
var socketCases = []Case{
	{
		Name: "kernel/protocols", Row: "rarely used protocols",
		Invisible: "the filter answers EPROTONOSUPPORT by itself",
		Inside: func(in *Inside) {
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				for _, p := range []struct {
					name        string
					kind, proto int
				}{
					{"SCTP stream", unix.SOCK_STREAM, unix.IPPROTO_SCTP},
					{"SCTP packets", unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP},
					{"MPTCP", unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
					{"SMC", unix.SOCK_STREAM, 256},
					{"DCCP", unix.SOCK_DCCP, unix.IPPROTO_DCCP},
					{"UDP-Lite", unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE},
					{"L2TP", unix.SOCK_DGRAM, unix.IPPROTO_L2TP},
					{"IGMP", unix.SOCK_RAW, unix.IPPROTO_IGMP},
					{"raw", unix.SOCK_RAW, unix.IPPROTO_RAW},
				} {
					_, err := unix.Socket(family, p.kind, p.proto)
					in.Attempt(fmt.Sprintf("a socket of %s, family %d", p.name, family), err, syscall.EPROTONOSUPPORT)
				}
				// Raw sockets of the protocols that are left take a privilege, ping sockets
				// a setting of the network namespace.
				for _, proto := range []int{unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
					_, err := unix.Socket(family, unix.SOCK_RAW, proto)
					in.Attempt(fmt.Sprintf("a raw socket of protocol %d, family %d", proto, family), err, syscall.EPERM)
				}
				_, err := unix.Socket(family, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
				in.Attempt(fmt.Sprintf("a ping socket, family %d", family), err, syscall.EACCES, syscall.EPROTONOSUPPORT)
			}
		},
	},
	{
		Name: "kernel/socket-options", Row: "kernel TLS, ESP over UDP, socket filters",
		Invisible: "the filter answers ENOPROTOOPT by itself",
		Inside: func(in *Inside) {
			tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			in.Must(err)
			udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
			in.Must(err)
			in.Attempt("TLS in the kernel", unix.SetsockoptString(tcp, unix.SOL_TCP, unix.TCP_ULP, "tls"), syscall.ENOPROTOOPT)
			in.Attempt("SMC by upper layer protocol", unix.SetsockoptString(tcp, unix.SOL_TCP, unix.TCP_ULP, "smc"), syscall.ENOPROTOOPT)
			in.Attempt("repair a connection", unix.SetsockoptInt(tcp, unix.SOL_TCP, unix.TCP_REPAIR, 1), syscall.ENOPROTOOPT)
			in.Attempt("ESP over UDP", unix.SetsockoptInt(udp, unix.SOL_UDP, unix.UDP_ENCAP, unix.UDP_ENCAP_ESPINUDP), syscall.ENOPROTOOPT)
			in.Attempt("L2TP over UDP", unix.SetsockoptInt(udp, unix.SOL_UDP, unix.UDP_ENCAP, unix.UDP_ENCAP_L2TPINUDP), syscall.ENOPROTOOPT)
			filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}}
			prog := &unix.SockFprog{Len: 1, Filter: &filter[0]}
			in.Attempt("a filter on a socket", unix.SetsockoptSockFprog(udp, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog), syscall.ENOPROTOOPT)
			in.Attempt("a filter that picks sockets", unix.SetsockoptSockFprog(udp, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, prog), syscall.ENOPROTOOPT)
			in.Attempt("an ordinary option", unix.SetsockoptInt(tcp, unix.SOL_TCP, unix.TCP_NODELAY, 1), 0)
		},
	},
}

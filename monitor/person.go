package monitor

// For whom the gateway connects.
//
// If Door.People is set, or a service that speaks HTTP has its instances per label
// or per principal, the gateway begins each of its connections to a service with one
// line, which is taken off:
//
//	COFFERDAM for PRINCIPAL ROUTE	from somebody outside, by a route
//	COFFERDAM over NUMBER		for a connection between services
//
// PRINCIPAL is in hexadecimal, - for somebody who was not recognised. NUMBER is the
// one that the monitor has told the gateway ahead of the connection that it led
// to it: "COFFERDAM CALLER CALLEE PORT NUMBER PRINCIPAL", where the last is that of
// the caller's instance. So the gateway is believed in who somebody outside is, and in
// which of the connections that it has a request came on, and in nothing else: what
// those may do is decided here.

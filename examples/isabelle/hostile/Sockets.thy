(* Connects to whatever there may be. *)
theory Sockets imports Try begin

ML ‹
fun address host port = INetSock.toAddr (valOf (NetHostDB.fromString host), port);

fun connect (host, port) =
  attempt ("connect " ^ host ^ ":" ^ Int.toString port) (fn () =>
    let
      val s = INetSock.TCP.socket () : Socket.active INetSock.stream_sock
      val begun = Socket.connectNB (s, address host port) handle e => (Socket.close s; raise e)
      val ready = begun orelse not (null (#wrs (Socket.select {rds = [], wrs = [Socket.sockDesc s], exs = [], timeout = SOME (Time.fromMilliseconds 300)})))
      val wrong = if ready then Socket.Ctl.getERROR s else true
    in Socket.close s; if not ready then "refused: nothing comes" else if wrong then "refused: nobody there" else "CONNECTED" end);

val () = app connect
 [("127.0.0.1", @HOSTPORT@), ("@HOSTIP@", @HOSTPORT@), ("127.0.0.1", @GATEPORT@), ("@HOSTIP@", @GATEPORT@), ("127.0.0.1", 22), ("10.0.0.1", 80),
  ("172.17.0.1", 80), ("192.168.0.1", 80), ("169.254.169.254", 80), ("8.8.8.8", 53), ("1.1.1.1", 443), ("255.255.255.255", 9)];

fun looked name = attempt ("look up " ^ name) (fn () =>
  case NetHostDB.getByName name of NONE => "refused: unknown" | SOME e => "KNOWN " ^ NetHostDB.toString (NetHostDB.addr e));
val () = app looked ["manager", "server", "gateway", "example.com"];

fun unix path = attempt ("unix " ^ path) (fn () =>
  let val s = UnixSock.Strm.socket () : Socket.active UnixSock.stream_sock
  in Socket.connect (s, UnixSock.toAddr path) handle e => (Socket.close s; raise e); Socket.close s; "CONNECTED" end);
val () = app unix ["/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", "@DIR@/run/isabelle/admin.sock"];

val () = app (fn (name, text) => attempt name (fn () => shell ("python3 -c '" ^ text ^ "'")))
 [("raw", "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
  ("packets", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
  ("netlink", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
  ("vsock", "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).connect((2, 1))"),
  ("udp", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b\"x\", (\"8.8.8.8\", 53)); s.settimeout(1); s.recv(9)"),
  ("abstract", "import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"\\0@ABSTRACT@\"); print(\"CONNECTED\")")];
›
end

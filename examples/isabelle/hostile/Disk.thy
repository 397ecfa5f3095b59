(* Fills what it can write to. *)
theory Disk imports Try begin
ML ‹
val block = CharVector.tabulate (1024 * 1024, fn _ => #"x");
fun fill file =
  attempt ("fill " ^ file) (fn () =>
    let
      val s = TextIO.openOut file
      fun more n =
        if n = 4096 then "FILLED"
        else (case (TextIO.output (s, block); TextIO.flushOut s; NONE) handle IO.Io {cause = OS.SysErr (why, _), ...} => SOME why | e => SOME (exnMessage e) of
            NONE => more (n + 1)
          | SOME why => "refused after " ^ Int.toString n ^ " MiB: " ^ why)
    in more 0 before (TextIO.closeOut s handle _ => ()) end);
val () = app fill ["/tmp/fill", "/dev/shm/fill"];
val () = attempt "inodes" (fn () => shell "i=0; while : >/tmp/i$i && [ $i -lt 200000 ]; do i=$((i+1)); done; echo $i");
›
end

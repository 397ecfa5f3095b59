(* Stops its server, so that it is there and never answers. *)
theory Stop imports Try begin
ML ‹
val () = Posix.Process.kill (Posix.Process.K_PROC (Posix.ProcEnv.getppid ()), Posix.Signal.stop);
val () = OS.Process.sleep (Time.fromSeconds 60);
›
end

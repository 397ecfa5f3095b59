(* Writes 100 MB to where its server writes what is kept for the operator. *)
theory Output imports Try begin
ML ‹
val () = attempt "output" (fn () => shell "for p in $PPID $(cut -d' ' -f4 /proc/$PPID/stat); do head -c 100000000 /dev/zero | tr '\\0' x >/proc/$p/fd/1; done");
›
end

;; The way through a JSON text by its bytes: where do the fields of its top level begin and end, and is all of it JSON (RFC 8259)?
;; WebAssembly and not JavaScript because it looks at sixteen bytes of a string at once. json-scan.ts is the only caller; `npm run wasm`
;; makes json-scan.wasm of this, and a test sees to it that the one is the other.
;;
;; The text comes in windows. Behind each stands a NUL, which is part of no JSON: every loop ends at it, and none has to ask where the
;; window does. What begins in a window and does not end in it is read again from its start in the next, but for strings, which go on.
(module
  ;; 0: by depth, 1 for an object, 0 for an array. 1024: what may follow a backslash. 1280: hexadecimal digits. 2048: the window.
  (memory (export "memory") 3)
  (data (i32.const 1058) "\01")                         ;; "
  (data (i32.const 1071) "\01")                         ;; /
  (data (i32.const 1116) "\01")                         ;; \
  (data (i32.const 1122) "\01\00\00\00\01")             ;; b f
  (data (i32.const 1134) "\01\00\00\00\01\00\01")       ;; n r t
  (data (i32.const 1328) "\01\01\01\01\01\01\01\01\01\01") ;; 0 to 9
  (data (i32.const 1345) "\01\01\01\01\01\01")          ;; A to F
  (data (i32.const 1377) "\01\01\01\01\01\01")          ;; a to f

  ;; Why `next` has come back.
  (global $more i32 (i32.const 0))        ;; the next window, please: from `at` on
  (global $end i32 (i32.const 1))         ;; the object was all, and JSON
  (global $key i32 (i32.const 2))         ;; a field of the top level, from `from` to `at`; perhaps `escaped`
  (global $value i32 (i32.const 3))       ;; the value that was wanted, from `from` to `at`
  (global $escapedKey i32 (i32.const 4))  ;; a field further down, from `from` to `at`, whose escapes may spell __proto__
  (global $proto i32 (i32.const 5))       ;; a field is called __proto__
  (global $syntax i32 (i32.const 6))      ;; no JSON, at `at`
  (global $early i32 (i32.const 7))       ;; the text is at its end, the object is not
  (global $within i32 (i32.const 8))      ;; the same within a string
  (global $deep i32 (i32.const 9))        ;; deeper than it may be

  ;; What is to come. The first six begin behind white space.
  (global $aValue i32 (i32.const 0))
  (global $aValueOrEnd i32 (i32.const 1))
  (global $aKey i32 (i32.const 2))
  (global $aKeyOrEnd i32 (i32.const 3))
  (global $aColon i32 (i32.const 4))
  (global $anotherOrEnd i32 (i32.const 5))
  (global $nothing i32 (i32.const 6))
  (global $restOfKey i32 (i32.const 7))
  (global $restOfString i32 (i32.const 8))

  (global $at (export "at") (mut i32) (i32.const 0))
  (global $from (export "from") (mut i32) (i32.const 0))
  (global $escaped (export "escaped") (mut i32) (i32.const 0))
  (global $stop (mut i32) (i32.const 0))
  (global $limit (mut i32) (i32.const 0))
  (global $isLast (mut i32) (i32.const 0))
  (global $state (mut i32) (i32.const 0))
  (global $depth (mut i32) (i32.const 0))
  (global $maxDepth (mut i32) (i32.const 0))
  (global $valueFrom (mut i32) (i32.const 0))

  ;; Another text, from behind its opening brace on.
  (func (export "begin") (param $maxDepth i32)
    (global.set $maxDepth (local.get $maxDepth))
    (global.set $depth (i32.const 1))
    (i32.store8 (i32.const 1) (i32.const 1))
    (global.set $state (global.get $aKeyOrEnd))
    (global.set $at (i32.const 2048)))

  ;; The next `length` bytes stand at 2048; they are those from `at` on.
  (func (export "feed") (param $length i32) (param $isLast i32)
    (local $shift i32)
    (local.set $shift (i32.sub (global.get $at) (i32.const 2048)))
    (global.set $from (i32.sub (global.get $from) (local.get $shift)))
    (global.set $valueFrom (i32.sub (global.get $valueFrom) (local.get $shift)))
    (global.set $at (i32.const 2048))
    (global.set $isLast (local.get $isLast))
    (global.set $limit (i32.add (i32.const 2048) (local.get $length)))
    (i32.store8 (global.get $limit) (i32.const 0)))

  (func $skipSpace (param $at i32) (result i32)
    (local $byte i32)
    (loop $look
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.gt_u (local.get $byte) (i32.const 0x20)) (then (return (local.get $at))))
      (if (i32.eqz (i32.or
            (i32.or (i32.eq (local.get $byte) (i32.const 0x20)) (i32.eq (local.get $byte) (i32.const 0x0a)))
            (i32.or (i32.eq (local.get $byte) (i32.const 0x0d)) (i32.eq (local.get $byte) (i32.const 0x09)))))
        (then (return (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $look))
    (unreachable))

  ;; Past the closing quote; -1: `stop` says why not, and `at` where.
  (func $skipString (param $at i32) (result i32)
    (local $bytes v128) (local $found i32) (local $byte i32)
    (loop $look
      (local.set $bytes (v128.load align=1 (local.get $at)))
      (local.set $found (i8x16.bitmask (v128.or
        (v128.or
          (i8x16.eq (local.get $bytes) (v128.const i8x16 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22 0x22))
          (i8x16.eq (local.get $bytes) (v128.const i8x16 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c 0x5c)))
        (i8x16.lt_u (local.get $bytes) (v128.const i8x16 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20 0x20)))))
      (if (i32.eqz (local.get $found))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br $look)))
      (local.set $at (i32.add (local.get $at) (i32.ctz (local.get $found))))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x22))
        (then (return (i32.add (local.get $at) (i32.const 1)))))
      (global.set $at (local.get $at))
      (if (i32.eq (local.get $byte) (i32.const 0x5c))
        (then
          (global.set $escaped (i32.const 1))
          (local.set $byte (i32.load8_u offset=1 (local.get $at)))
          (if (i32.load8_u offset=1024 (local.get $byte))
            (then
              (local.set $at (i32.add (local.get $at) (i32.const 2)))
              (br $look)))
          (if (i32.eq (local.get $byte) (i32.const 0x75))
            (then
              (if (i32.and
                    (i32.and
                      (i32.load8_u offset=1280 (i32.load8_u offset=2 (local.get $at)))
                      (i32.load8_u offset=1280 (i32.load8_u offset=3 (local.get $at))))
                    (i32.and
                      (i32.load8_u offset=1280 (i32.load8_u offset=4 (local.get $at)))
                      (i32.load8_u offset=1280 (i32.load8_u offset=5 (local.get $at)))))
                (then
                  (local.set $at (i32.add (local.get $at) (i32.const 6)))
                  (br $look)))))
          ;; It may lie across the window's end.
          (global.set $stop (select (global.get $syntax) (global.get $more)
            (i32.or (global.get $isLast)
              (i32.le_u (i32.add (local.get $at) (i32.const 6)) (global.get $limit)))))
          (return (i32.const -1))))
      (global.set $stop
        (if (result i32) (i32.ne (local.get $at) (global.get $limit))
          (then (global.get $syntax))
          (else (select (global.get $within) (global.get $more) (global.get $isLast)))))
      (return (i32.const -1)))
    (unreachable))

  ;; Past at least one digit; -1: there is none, and `at` says where.
  (func $skipDigits (param $at i32) (result i32)
    (local $from i32)
    (local.set $from (local.get $at))
    (loop $look
      (if (i32.lt_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 0x30)) (i32.const 10))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $look))))
    (if (i32.ne (local.get $at) (local.get $from)) (then (return (local.get $at))))
    (global.set $at (local.get $at))
    (i32.const -1))

  ;; Past a number; -1: it is none, and `at` says where.
  (func $skipNumber (param $at i32) (result i32)
    (local $byte i32)
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x2d))
      (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x30))
      (then (local.set $at (i32.add (local.get $at) (i32.const 1))))
      (else
        (local.set $at (call $skipDigits (local.get $at)))
        (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (i32.const -1))))))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x2e))
      (then
        (local.set $at (call $skipDigits (i32.add (local.get $at) (i32.const 1))))
        (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (i32.const -1))))))
    (if (i32.eq (i32.or (i32.load8_u (local.get $at)) (i32.const 0x20)) (i32.const 0x65))
      (then
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.or (i32.eq (local.get $byte) (i32.const 0x2b)) (i32.eq (local.get $byte) (i32.const 0x2d)))
          (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
        (return (call $skipDigits (local.get $at)))))
    (local.get $at))

  ;; Past true, false, null or a number; -1: `stop` says why not, and `at` where.
  (func $skipScalar (param $from i32) (param $byte i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const -1))
    (if (i32.eq (local.get $byte) (i32.const 0x66))
      (then
        (if (i32.eq (i32.load offset=1 align=1 (local.get $from)) (i32.const 0x65736c61))
          (then (return (i32.add (local.get $from) (i32.const 5)))))
        (global.set $at (local.get $from)))
      (else
        (if (i32.or (i32.eq (local.get $byte) (i32.const 0x74)) (i32.eq (local.get $byte) (i32.const 0x6e)))
          (then
            (if (i32.eq (i32.load align=1 (local.get $from))
                  (select (i32.const 0x65757274) (i32.const 0x6c6c756e) (i32.eq (local.get $byte) (i32.const 0x74))))
              (then (return (i32.add (local.get $from) (i32.const 4)))))
            (global.set $at (local.get $from)))
          (else
            (local.set $at (call $skipNumber (local.get $from)))
            ;; A number that ends with the window may go on in the next one.
            (if (i32.and (i32.ge_s (local.get $at) (i32.const 0))
                  (i32.or (global.get $isLast) (i32.ne (local.get $at) (global.get $limit))))
              (then (return (local.get $at))))))))
    (global.set $stop (global.get $syntax))
    (if (i32.and (i32.eqz (global.get $isLast))
          (i32.or
            (i32.gt_u (i32.add (local.get $from) (i32.const 5)) (global.get $limit))
            (i32.or (i32.ge_s (local.get $at) (i32.const 0)) (i32.eq (global.get $at) (global.get $limit)))))
      (then
        (global.set $stop (global.get $more))
        (global.set $at (local.get $from))))
    (i32.const -1))

  ;; Goes on until there is something to say; what it is. @param wantsValue of the key that was said last
  (func (export "next") (param $wantsValue i32) (result i32)
    (local $at i32) (local $passed i32) (local $byte i32) (local $size i32) (local $state i32) (local $depth i32)
    (local.set $at (global.get $at))
    (local.set $state (global.get $state))
    (local.set $depth (global.get $depth))
    (global.set $stop
      (block $leave (result i32)
        (loop $step
          (if (i32.lt_u (local.get $state) (global.get $restOfKey))
            (then
              (local.set $byte (i32.load8_u (local.get $at)))
              (if (i32.le_u (local.get $byte) (i32.const 0x20))
                (then
                  (local.set $at (call $skipSpace (local.get $at)))
                  (local.set $byte (i32.load8_u (local.get $at)))
                  (if (i32.eq (local.get $at) (global.get $limit))
                    (then
                      (if (i32.eqz (global.get $isLast)) (then (br $leave (global.get $more))))
                      (br $leave (select (global.get $end) (global.get $early)
                        (i32.eq (local.get $state) (global.get $nothing))))))))))

          (if (i32.or (i32.le_u (local.get $state) (global.get $aValueOrEnd)) (i32.eq (local.get $state) (global.get $restOfString)))
            (then
                (if (i32.eq (local.get $state) (global.get $restOfString))
                  (then (local.set $passed (call $skipString (local.get $at))))
                  (else
                    (if (i32.eq (local.get $depth) (i32.const 1))
                      (then (global.set $valueFrom (local.get $at))))
                    (if (i32.eq (local.get $byte) (i32.const 0x22))
                      (then
                        (local.set $state (global.get $restOfString))
                        (local.set $passed (call $skipString (i32.add (local.get $at) (i32.const 1)))))
                      (else
                        ;; { or [
                        (if (i32.eq (i32.or (local.get $byte) (i32.const 0x20)) (i32.const 0x7b))
                          (then
                            (local.set $depth (i32.add (local.get $depth) (i32.const 1)))
                            (if (i32.gt_u (local.get $depth) (global.get $maxDepth)) (then (br $leave (global.get $deep))))
                            (i32.store8 (local.get $depth) (i32.eq (local.get $byte) (i32.const 0x7b)))
                            (local.set $state (select (global.get $aKeyOrEnd) (global.get $aValueOrEnd)
                              (i32.eq (local.get $byte) (i32.const 0x7b))))
                            (local.set $at (i32.add (local.get $at) (i32.const 1)))
                            (br $step)))
                        ;; ]
                        (if (i32.and (i32.eq (local.get $byte) (i32.const 0x5d)) (i32.eq (local.get $state) (global.get $aValueOrEnd)))
                          (then
                            (local.set $state (global.get $anotherOrEnd))
                            (br $step)))
                        (local.set $passed (call $skipScalar (local.get $at) (local.get $byte)))))))
              (if (i32.lt_s (local.get $passed) (i32.const 0))
                (then
                  (local.set $at (global.get $at))
                  (br $leave (global.get $stop))))
              (local.set $at (local.get $passed))
              (local.set $state (global.get $anotherOrEnd))
              (if (i32.and (local.get $wantsValue) (i32.eq (local.get $depth) (i32.const 1)))
                (then
                  (global.set $from (global.get $valueFrom))
                  (br $leave (global.get $value))))
              (br $step)))

          (if (i32.eq (local.get $state) (global.get $anotherOrEnd))
            (then
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (if (i32.eq (local.get $byte) (i32.const 0x2c))
                (then
                  (local.set $state (select (global.get $aKey) (global.get $aValue) (i32.load8_u (local.get $depth))))
                  (br $step)))
              (if (i32.eq (local.get $byte)
                    (select (i32.const 0x7d) (i32.const 0x5d) (i32.load8_u (local.get $depth))))
                (then
                  (local.set $depth (i32.sub (local.get $depth) (i32.const 1)))
                  (if (i32.eqz (local.get $depth)) (then (local.set $state (global.get $nothing))))
                  (if (i32.and (local.get $wantsValue) (i32.eq (local.get $depth) (i32.const 1)))
                    (then
                      (global.set $from (global.get $valueFrom))
                      (br $leave (global.get $value))))
                  (br $step)))
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (br $leave (global.get $syntax))))

          (if (i32.eq (local.get $state) (global.get $aColon))
            (then
              (if (i32.ne (local.get $byte) (i32.const 0x3a)) (then (br $leave (global.get $syntax))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (local.set $state (global.get $aValue))
              (br $step)))

          (if (i32.eq (local.get $state) (global.get $nothing)) (then (br $leave (global.get $syntax))))

          ;; A key, or the rest of a long one.
          (if (i32.eq (local.get $state) (global.get $restOfKey))
            (then (local.set $passed (call $skipString (local.get $at))))
            (else
              (if (i32.and (i32.eq (local.get $byte) (i32.const 0x7d)) (i32.eq (local.get $state) (global.get $aKeyOrEnd)))
                (then
                  (local.set $state (global.get $anotherOrEnd))
                  (br $step)))
              (if (i32.ne (local.get $byte) (i32.const 0x22)) (then (br $leave (global.get $syntax))))
              (global.set $from (local.get $at))
              (global.set $escaped (i32.const 0))
              (local.set $passed (call $skipString (i32.add (local.get $at) (i32.const 1))))))
          (if (i32.lt_s (local.get $passed) (i32.const 0))
            (then
              (local.set $at (global.get $at))
              (if (i32.eq (global.get $stop) (global.get $more))
                (then
                  (local.set $state (global.get $restOfKey))
                  ;; One short enough to be compared is read again whole.
                  (if (i32.le_s (i32.sub (local.get $at) (global.get $from)) (i32.const 64))
                    (then
                      (local.set $state (global.get $aKey))
                      (local.set $at (global.get $from))))))
              (br $leave (global.get $stop))))
          (local.set $at (local.get $passed))
          (local.set $state (global.get $aColon))
          (local.set $size (i32.sub (local.get $at) (global.get $from)))
          (if (global.get $escaped)
            (then
              ;; "__proto__", each letter of it as an escape or not.
              (if (i32.and (i32.gt_s (local.get $size) (i32.const 11)) (i32.le_s (local.get $size) (i32.const 56)))
                (then (br $leave (select (global.get $key) (global.get $escapedKey) (i32.eq (local.get $depth) (i32.const 1)))))))
            (else
              (if (i32.eq (local.get $size) (i32.const 11))
                (then
                  (if (i32.and
                        (i64.eq (i64.load offset=1 align=1 (global.get $from)) (i64.const 0x5f6f746f72705f5f))
                        (i32.eq (i32.load8_u offset=9 (global.get $from)) (i32.const 0x5f)))
                    (then (br $leave (global.get $proto))))))))
          (if (i32.eq (local.get $depth) (i32.const 1)) (then (br $leave (global.get $key))))
          (br $step))
        (unreachable)))
    (global.set $at (local.get $at))
    (global.set $state (local.get $state))
    (global.set $depth (local.get $depth))
    (global.get $stop)))

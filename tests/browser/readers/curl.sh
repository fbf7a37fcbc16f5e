#!/usr/bin/env bash
# curl: the shell parses its output and reconnects with the last id.
set -uo pipefail
url=$1 last='' retry=1 status=''
while [ "$status" != 204 ]; do
  kind='' data='' has=''
  while IFS= read -r line; do
    value=${line#*:} value=${value# }
    case $line in
      '') if [ -n "$has" ]; then
            jq -cn --arg type "${kind:-message}" --arg data "${data%$'\n'}" --arg id "$last" '{type: $type, data: $data, id: $id}'
          fi
          kind='' data='' has='' ;;
      status=*) status=${line#status=} ;;
      data:*) data+=$value$'\n' has=yes ;;
      event:*) kind=$value ;;
      id:*) last=$value ;;
      retry:*) retry=$((value / 1000)).$(printf '%03d' $((value % 1000))) ;;
    esac
  done < <(curl -sN --no-buffer ${last:+-H "Last-Event-ID: $last"} -w '\nstatus=%{http_code}\n' "$url")
  case $status in
    204) ;;
    [45]*) echo "{\"refused\": $status}"; sleep "$retry" ;;
    *) sleep "$retry" ;;
  esac
done
echo '{"over": 204}'

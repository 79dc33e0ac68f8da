#!/bin/sh
# Starts nginx with the hosts of GATEWAY_HOSTS: a word for each, HOST=UPSTREAM, or UPSTREAM alone for
# a host of that name. A * reaches every upstream by its name. Arguments go to nginx.
set -euf # -f: a * is no pattern

refuse() {
	echo "GATEWAY_HOSTS: $1: a word is HOST=UPSTREAM, an upstream's name, or *" >&2
	exit 1
}

default='""'
lines=
for word in ${GATEWAY_HOSTS-}; do
	host=${word%%=*} upstream=${word#*=}
	case $word in
		'*')
			# shellcheck disable=SC2016 # nginx's own variable
			default='$host'
			;;
		*[!a-zA-Z0-9._=-]* | *=*=* | =* | *=) refuse "$word" ;;
		*)
			lines="$lines    $host $upstream;
"
			;;
	esac
done

# An address that a client sends as its host is no upstream's name.
cat >/tmp/hosts.conf <<END
map \$host \$service {
    hostnames;
$lines    ~^[0-9.]+\$ "";
    ~^\\[       "";
    default    $default;
}
END
# Only this user enters the folder of the API's socket. nginx starts on no socket that another nginx
# left behind when it was killed.
[ -d /tmp/dyups ] || mkdir -m 0700 /tmp/dyups
rm -f /tmp/dyups/api.sock
exec nginx -e stderr -c /etc/swallowkeeper/nginx.conf "$@"

#!/bin/sh
# Run once by the image of PostgreSQL, when it makes its data: the gateway's own database, and its role. That is no superuser, so that row
# security and grants bind it as they do in the embedded database, and nothing that it is made to say runs programs there.
set -eu
psql --username postgres --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'END'
\set password `cat /run/secrets/database_password`
create role sallyport login createrole password :'password';
create database sallyport owner sallyport encoding 'UTF8' template template0;
END

drop table upkeep;
